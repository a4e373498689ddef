"""The figures of docs/results.md and docs/tasks.md, from what their JSON holds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from pages import ALL_FILMS, DIRECTIONS, FILM_BUDGET, METHODS, hand_written

from hardprompt.search.writing import write_bytes
from hardprompt.tasks.invert.images import grid, png, read_image

COLORS = dict(zip(METHODS, ("C3", "C0", "C1", "C7"), strict=True))


def films(known: dict[str, Any], out: Path) -> None:
    """Learning curves on the films, and accuracy against perplexity."""
    cells = [c for c in known["cells"] if c["data"] == "films" and c["evaluations"] == FILM_BUDGET]
    if not cells:
        return
    tested = known["tested"]["tested.json"]
    right, perplexity = tested["right"][ALL_FILMS], tested["perplexity"]
    figure = Figure(figsize=(11, 4), layout="constrained")
    curves, scatter = figure.subplots(1, 2)
    for method, color in COLORS.items():
        runs = [c for c in cells if c["method"] == method]
        if not runs:
            continue
        longest = max((r["curve"] for r in runs), key=len)
        means = torch.tensor([[p["mean"] for p in r["curve"]] for r in runs if len(r["curve"]) == len(longest)])
        x = [p["evaluations"] for p in longest]
        curves.plot(x, means.mean(0), color=color, label=f"{method} ({len(means)} seeds)")
        curves.fill_between(x, means.amin(0), means.amax(0), color=color, alpha=0.15)
        points = [(perplexity[r["prompt"]], _share(right[r["prompt"]])) for r in runs if perplexity[r["prompt"]]]
        scatter.scatter(*zip(*points, strict=True), color=color, label=method)
    for (name, prompt), marker in zip(list(hand_written("films").items())[1:], "x+", strict=True):
        if prompt in right:
            scatter.scatter(perplexity[prompt], _share(right[prompt]), color="k", marker=marker, label=name)
    curves.set(xlabel="evaluations", ylabel="mean training reward of a step", title="Learning on film reviews")
    scatter.set(xscale="log", xlabel="perplexity under Gemma 3 270M", ylabel="test accuracy", title="What was found")
    curves.legend()
    scatter.legend()
    figure.savefig(out / "films.png", dpi=110)


def _share(right: str) -> float:
    return right.count("1") / len(right)


def tasks(found: dict[str, Any], out: Path) -> None:
    """Learning curves of style transfer in both directions, and of pictures."""
    groups = [
        *(("restyle", name, f"{a}to{b}-", 1, "mean reward of a step") for name, (a, b) in DIRECTIONS.items()),
        ("invert", "pictures", "", 2, "best cosine so far"),
    ]
    figure = Figure(figsize=(13, 3.8), layout="constrained")
    for axis, (task, name, prefix, column, label) in zip(figure.subplots(1, 3), groups, strict=True):
        for method, color in COLORS.items():
            runs = [v for k, v in found.get(task, {}).items() if k.startswith(prefix) and v["method"] == method]
            if not runs:
                continue
            length = min(len(r["curve"]) for r in runs)
            values = torch.tensor([[point[column] for point in r["curve"][:length]] for r in runs])
            x = [point[0] for point in runs[0]["curve"][:length]]
            error = values.std(0, correction=1) / len(runs) ** 0.5 if len(runs) > 1 else torch.zeros(length)
            axis.plot(x, values.mean(0), color=color, label=f"{method} ({len(runs)} runs)")
            axis.fill_between(x, values.mean(0) - error, values.mean(0) + error, color=color, alpha=0.15)
        axis.set(xlabel="evaluations", ylabel=label, title=name)
        axis.legend(fontsize=8)
    figure.savefig(out / "tasks.png", dpi=100)


def pictures(found: dict[str, Any], photographs: Sequence[Path], out: Path) -> None:
    """The photographs, which are free, with the best prompt of each method; nothing where they are not there."""
    rows = []
    for path in (path for path in photographs if path.is_file()):
        lines = [path.stem]
        for method in METHODS:
            runs = [v for k, v in found.get("invert", {}).items() if k.startswith(f"{path.stem}-{method}-")]
            runs = [run for run in runs if run["method"] == method]
            if runs:
                best = max(runs, key=lambda v: v["test"]["cosine"])
                lines.append(f"{method} {best['test']['cosine']:.2f}: {best['prompt']}")
        rows.append((read_image(path), "\n".join(lines)))
    if rows:
        write_bytes(out / "pictures.png", png(grid([rows[:3], rows[3:]], width=330)))

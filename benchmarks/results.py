"""Fills the tables of docs/results.md: searches cell by cell, tests once per data set, and writes the tables.

Every cell (data set, split or seed, method) is a run folder that is resumed where it was killed and skipped when it
is done, so this can run for hours in the background, and several processes may share the work: start it twice.

    python benchmarks/results.py demo       # films: three seeds, every method
    python benchmarks/results.py prior      # beta on films and sst-2
    python benchmarks/results.py fewshot    # sst-2, agnews, cr, subj: three splits
    python benchmarks/results.py loss       # monte_carlo against single_step on films
    python benchmarks/results.py            # all of it
    python benchmarks/results.py --tables   # no search: test what was found, write tables and figures

The tables go to ``runs/results/tables.md``, the figures to ``docs/figures``, and everything found and tested so far to
``docs/results.json``, from which a fresh clone goes on. After a change that moves results, delete both and start anew.
"""

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pages import fill

from hardprompt.cli import demo
from hardprompt.data.tables import Row, read_rows
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.load import load_causal
from hardprompt.runs import run
from hardprompt.search.choice import choose
from hardprompt.search.engine import Progress, optimize
from hardprompt.search.files import StateStore, write_json, write_text
from hardprompt.tasks.classify.reward import Classification
from hardprompt.tasks.classify.task import Classify
from hardprompt.tasks.intervals import bootstrap
from hardprompt.tasks.template import Template

EXPERIMENTS = ("demo", "prior", "fewshot", "loss")
SEEDS = (0, 1, 2)
SPLITS = ("16-100", "16-13", "16-21")
BUDGET = demo.HALF_EVALUATIONS  # of the comparison on films
FEW_SHOT_BUDGET = 192
SHORT_BUDGET = 96  # of the comparisons of settings
METHODS = ("pin-prior", "pin", "rlprompt", "best-of-n")
BETAS = (0.0, 0.05, 0.1, 0.2, 0.4)
TEST_TEXTS = 500  # of each few-shot test file, drawn once, and of the films where settings are compared
ALL_FILMS = "films, all"  # the test set of the comparison on films


@dataclass(frozen=True)
class DataSet:
    """A few-shot data set of the papers, posed for the embedded model."""

    name: str
    text: str
    template: str
    verbalizers: dict[str, str]
    manual: str
    instruction: str


_SENTIMENT = {"0": " negative", "1": " positive"}
SETS = {
    "sst-2": DataSet(
        "sst-2", "sentence", "Review: {text}\\n{prompt}", _SENTIMENT, "The sentiment of this review is",
        "Decide whether the critic liked the film. The answer is",
    ),
    "cr": DataSet(
        "cr", "sentence", "Review: {text}\\n{prompt}", _SENTIMENT, "The sentiment of this review is",
        "Decide whether the customer liked the product. The answer is",
    ),
    "subj": DataSet(
        "subj", "sentence", "Text: {text}\\n{prompt}", {"0": " subjective", "1": " objective"},
        "The tone of this text is", "Decide whether the text is subjective or objective. The answer is",
    ),
    "agnews": DataSet(
        "agnews", "sentence", "News: {text}\\n{prompt}",
        {"0": " World", "1": " Sports", "2": " Business", "3": " Technology"},
        "The topic of this article is", "Decide which section of the paper this is from. The answer is",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One search: where it is kept and what it runs."""

    folder: Path
    config: Classify
    key: dict[str, Any] = field(default_factory=dict)


def films(root: Path, seed: int, method: str, evaluations: int, **settings: Any) -> Cell:
    """A search on the demonstration's films."""
    data = _films_data(root, seed)
    paths = {name: data / f"{name}.csv" for name in ("train", "validation", "test")}
    base = demo.config(paths, method=method, seed=seed, evaluations=evaluations)
    return _cell(root, "films", str(seed), base, settings)


def _films_data(root: Path, seed: int) -> Path:
    data = root / "data" / f"films-{seed}"
    if not (data / "test.csv").is_file():
        data.mkdir(parents=True, exist_ok=True)
        demo.write_data(data, seed=seed)
    return data


def few_shot(
    root: Path, data: Path, name: str, split: str, method: str, evaluations: int, seed: int = 0, **settings: Any
) -> Cell:
    """A search on one split of a few-shot data set."""
    task = SETS[name]
    folder = data / "16-shot" / name
    files = {
        "train": folder / split / "train.tsv",
        "validation": folder / split / "dev.tsv",
        "test": folder / "test.tsv",
    }
    paths = {part: str(_one_header(file, root / "data" / name / split)) for part, file in files.items()}
    base = Classify(
        **paths, text=task.text, label="label", verbalizers=task.verbalizers,
        template=task.template, manual=task.manual, method=method, seed=seed, evaluations=evaluations,
    )  # fmt: skip
    return _cell(root, name, split if seed == 0 else f"{split}-{seed}", base, settings)


def _one_header(file: Path, folder: Path) -> Path:
    """A copy whose text column is called ``sentence``: in the published files it is sometimes ``text``."""
    copy = folder / file.name
    if not copy.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        header, _, rest = file.read_text(encoding="utf-8").partition("\n")
        write_text(copy, f"{header.replace('text', 'sentence')}\n{rest}")
    return copy


def _cell(root: Path, data: str, split: str, base: Classify, settings: dict[str, Any]) -> Cell:
    config = Classify(**{**base.to_dict(), "settings": settings, "threads": 1, "validate_every": 6, "save_every": 6})
    name = "-".join([base.method, *(f"{k}={v}" for k, v in sorted(settings.items())), str(base.evaluations)])
    key = {"data": data, "split": split, "method": base.method, "settings": settings, "evaluations": base.evaluations}
    return Cell(root / "cells" / data / split / name, config, key)


def plan(experiment: str, root: Path, data: Path) -> Iterator[Cell]:
    """The cells of an experiment, the cheapest proof first."""
    if experiment == "demo":
        for seed in SEEDS:
            for method in METHODS:
                yield films(root, seed, method, BUDGET)
    elif experiment == "prior":
        for seed in SEEDS:
            for beta in BETAS:
                yield films(root, seed, "pin-prior", SHORT_BUDGET, prior=beta)
                yield few_shot(root, data, "sst-2", SPLITS[seed], "pin-prior", SHORT_BUDGET, prior=beta)
    elif experiment == "loss":
        for seed in SEEDS:
            # monte_carlo, the default, is prior=0.2 of the experiment before
            yield films(root, seed, "pin-prior", SHORT_BUDGET, prior=0.2)
            yield films(root, seed, "pin-prior", SHORT_BUDGET, loss="single_step")
    elif experiment == "fewshot":
        for split in SPLITS:
            for name in SETS:
                for method in METHODS:
                    yield few_shot(root, data, name, split, method, FEW_SHOT_BUDGET)


def search(cell: Cell) -> None:
    """Run or continue one cell; what it found goes to ``found.json``, without touching the test set."""
    if (cell.folder / "found.json").is_file():
        return
    cell.folder.mkdir(parents=True, exist_ok=True)
    lock = cell.folder / "pid"
    if lock.is_file() and _alive(int(lock.read_text())):
        return
    write_text(lock, str(os.getpid()))
    print(f"{time.strftime('%H:%M:%S')} {cell.folder}", flush=True)
    session = run.prepare(cell.config)
    store, progress = StateStore(cell.folder / "checkpoint"), Progress()
    state = store.load()
    if state is not None:
        progress.load_state_dict(state["progress"])
        session.optimizer.load_state_dict(state["optimizer"])
        session.reward.load_state_dict(state["reward"])
    curve: list[dict[str, Any]] = list(state["curve"]) if state is not None and "curve" in state else []

    def save(at: Progress) -> None:
        parts = {"progress": at, "optimizer": session.optimizer, "reward": session.reward}
        store.save(at.step, {name: part.state_dict() for name, part in parts.items()} | {"curve": curve})

    outcome = optimize(
        session.optimizer, session.reward, evaluations=cell.config.evaluations, validate=session.validate,
        validate_every=cell.config.validate_every, progress=progress, save=save, save_every=cell.config.save_every,
        callbacks=[lambda s: curve.append({"evaluations": s.evaluations, "mean": statistics.fmean(s.rewards),
                                           "best": s.best_reward, "support": s.log.get("support_size")})],
    )  # fmt: skip
    best = choose(outcome.trials, len(session.work.splits.validation), session.policy_lm.perplexity)
    write_json(
        cell.folder / "found.json",
        {
            **cell.key, "prompt": best.prompt, "validation": best.score, "seconds": outcome.seconds,
            "precision": session.work.precision,
            "distinct": len(session.reward), "best_reward": progress.best_reward, "curve": curve,
            "trials": [[t.prompt, t.score] for t in outcome.trials],
        },
    )  # fmt: skip
    print(f"{time.strftime('%H:%M:%S')} {cell.folder} {best.score:.3f} {best.prompt!r}", flush=True)
    for old in (cell.folder / "checkpoint").iterdir():
        old.unlink()


def _alive(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def restore(root: Path, published: Path) -> None:
    """Lay out what was found and tested before, where this machine does not have it yet."""
    if not published.is_file():
        return
    known = json.loads(published.read_text())
    for cell in known["cells"]:
        folder = root / "cells" / cell.pop("folder")
        if not (folder / "found.json").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "found.json", cell)
    for name, tested in known["tested"].items():
        if not (root / name).is_file():
            write_json(root / name, tested)


def publish(root: Path, published: Path) -> None:
    """Store everything found and tested so far in one file."""
    cells = [c | {"folder": str(Path(c["folder"]).relative_to(root / "cells"))} for c in found_cells(root)]
    tested = {p.name: json.loads(p.read_text()) for p in sorted(root.glob("tested*.json"))}
    write_text(published, json.dumps({"cells": cells, "tested": tested}, ensure_ascii=False) + "\n")


def found_cells(root: Path) -> list[dict[str, Any]]:
    """Every finished search."""
    return [json.loads(p.read_text()) | {"folder": str(p.parent)} for p in sorted(root.glob("cells/*/*/*/found.json"))]


def hand_written(name: str) -> dict[str, str]:
    """The prompts that need no search."""
    if name in ("films", ALL_FILMS):
        return {"empty": "", "manual": demo.MANUAL, "instruction": demo.INSTRUCTION}
    return {"empty": "", "manual": SETS[name].manual, "instruction": SETS[name].instruction}


def test_rows(key: str, root: Path, data: Path) -> list[Row]:
    """The rows that a table is tested on: every one for the comparison on films, else a class-balanced sample."""
    columns = {"text": "text", "label": "label"}
    if key in ("films", ALL_FILMS):
        folder = root / "data" / ("films-all" if key == ALL_FILMS else "films-0")
        if not (folder / "test.csv").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            demo.write_data(folder, seed=0, test=None if key == ALL_FILMS else demo.TEST)
        trained = {r.text for seed in SEEDS for r in read_rows(_films_data(root, seed) / "train.csv", **columns)}
        # A snippet may stand in the corpus twice, with two films.
        return [r for r in read_rows(folder / "test.csv", **columns) if r.text not in trained]
    rows = read_rows(data / "16-shot" / key / "test.tsv", text=SETS[key].text, label="label")
    each = TEST_TEXTS // len(SETS[key].verbalizers)
    chosen: list[Row] = []
    for label in SETS[key].verbalizers:
        members = [r for r in rows if r.label == label]
        chosen += random.Random(0).sample(members, min(each, len(members)))
    return chosen


def tested_on(cell: dict[str, Any]) -> str:
    """The test set of a cell."""
    return ALL_FILMS if cell["data"] == "films" and cell["evaluations"] == BUDGET else str(cell["data"])


def test(root: Path, data: Path) -> dict[str, Any]:
    """Accuracy and perplexity of every prompt found, and of the hand-written ones.

    What was tested before is remembered in ``tested.json``.
    """
    path = root / "tested.json"
    tested: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"right": {}, "perplexity": {}}
    cells = found_cells(root)
    model, tokenizer = load_causal("embedded:smollm2")
    for key in sorted({tested_on(c) for c in cells}):
        known = tested["right"].setdefault(key, {})
        prompts = {c["prompt"] for c in cells if tested_on(c) == key} | set(hand_written(key).values())
        new = sorted(p for p in prompts if p not in known)
        if not new:
            continue
        films = key in ("films", ALL_FILMS)
        template = Template(demo.TEMPLATE if films else SETS[key].template)
        verbalizers = demo.VERBALIZERS if films else SETS[key].verbalizers
        rows = test_rows(key, root, data)
        print(f"testing {len(new)} prompts on {len(rows)} texts of {key}", flush=True)
        right = dict.fromkeys(new, "")
        for i in range(0, len(rows), TEST_TEXTS):  # so many texts are held at a time
            task = Classification(
                lm=CausalLM(model, tokenizer), examples=[r.example for r in rows[i : i + TEST_TEXTS]],
                template=template, verbalizers=verbalizers,
            )  # fmt: skip
            for k in range(0, len(new), 8):
                for prompt, predicted in zip(new[k : k + 8], task.predictions(new[k : k + 8]), strict=True):
                    right[prompt] += "".join("1" if r else "0" for r in (predicted == task.labels).tolist())
        known.update(right)
        write_json(path, tested)
    everything = sorted({p for known in tested["right"].values() for p in known} - set(tested["perplexity"]))
    if everything:
        judge = CausalLM(*load_causal("embedded:gemma3"))
        values = judge.perplexity([p.strip() for p in everything]).tolist()
        tested["perplexity"].update({p: v if v == v else None for p, v in zip(everything, values, strict=True)})
        write_json(path, tested)
    return tested


def rows_of(cells: list[dict[str, Any]], tested: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per method (and settings) of a table's cells, averaged over its splits or seeds."""
    rows = []
    known = tested["right"][tested_on(cells[0])]
    for label, prompt in hand_written(cells[0]["data"]).items():
        right = known[prompt]
        rows.append({"method": label, "runs": [{"prompt": prompt, "right": right, "distinct": 0, "seconds": 0.0}]})
    groups: dict[str, list[dict[str, Any]]] = {}
    for cell in cells:
        label = " ".join([cell["method"], *(f"{k}={v}" for k, v in sorted(cell["settings"].items()))])
        groups.setdefault(label, []).append({**cell, "right": known[cell["prompt"]]})
    order = {m: i for i, m in enumerate(("best-of-n", "rlprompt", "pin", "pin-prior"))}
    for label in sorted(groups, key=lambda g: (order.get(g.split()[0], 9), g)):
        rows.append({"method": label, "runs": groups[label]})
    for row in rows:
        accuracies = [r["right"].count("1") / len(r["right"]) for r in row["runs"]]
        nats = [torch.tensor(p).log().item() for r in row["runs"] if (p := tested["perplexity"][r["prompt"]])]
        pooled = torch.tensor([[float(c) for c in r["right"]] for r in row["runs"]]).mean(0).numpy()
        row |= {
            "accuracy": statistics.fmean(accuracies), "accuracies": accuracies, "interval": bootstrap(pooled),
            "error": statistics.stdev(accuracies) / len(accuracies) ** 0.5 if len(accuracies) > 1 else None,
            "perplexity": float(torch.tensor(nats).mean().exp()) if nats else None,
            "distinct": statistics.fmean(r["distinct"] for r in row["runs"]),
            "seconds": statistics.fmean(r["seconds"] for r in row["runs"]),
            "prompts": [r["prompt"] for r in row["runs"]],
        }  # fmt: skip
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    """Rows as a Markdown table; perplexities are averaged as logarithms."""
    lines = [
        "| method | runs | accuracy (s.e.) | 95 % interval | perplexity | distinct prompts | seconds | prompts |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        error = f" ({row['error']:.3f})" if row["error"] is not None else ""
        low, high = row["interval"]
        perplexity = "-" if row["perplexity"] is None else f"{row['perplexity']:,.0f}"
        prompts = "; ".join(f"`{p}`" if p else "(none)" for p in row["prompts"]).replace("|", "\\|")
        lines.append(
            f"| {row['method']} | {len(row['runs'])} | {row['accuracy']:.3f}{error} | {low:.3f} to {high:.3f} | "
            f"{perplexity} | {row['distinct']:.0f} | {row['seconds']:.0f} | {prompts} |"
        )
    return "\n".join(lines)


def differences(rows: list[dict[str, Any]]) -> str:
    """By how much the default is above each other row on the same texts, with a paired bootstrap over the texts."""

    def by_text(row: dict[str, Any]) -> Any:
        return torch.tensor([[float(c) for c in r["right"]] for r in row["runs"]]).mean(0).numpy()

    (default,) = (by_text(row) for row in rows if row["method"] == "pin-prior")
    parts = []
    for row in rows:
        if row["method"] not in ("pin-prior", "empty", "instruction"):
            above = default - by_text(row)
            low, high = bootstrap(above)
            parts.append(f"{row['method']} {above.mean():+.3f} ({low:+.3f} to {high:+.3f})")
    return f"`pin-prior` minus the others, paired by text: {', '.join(parts)}."


def write_tables(root: Path, data: Path) -> None:
    """Write ``tables.md`` and ``tables.json``: per budget and data set, then as one would read them."""
    tested = test(root, data)
    # A search may have ended while the others were tested: it waits for the next table.
    cells = [c for c in found_cells(root) if c["prompt"] in tested["right"][tested_on(c)]]
    parts, values = [], {}
    for budget in sorted({c["evaluations"] for c in cells}, reverse=True):
        for name in sorted({c["data"] for c in cells}, key=lambda n: (n != "films", n)):
            chosen = [c for c in cells if c["evaluations"] == budget and c["data"] == name]
            if chosen:
                rows = rows_of(chosen, tested)
                n = len(rows[0]["runs"][0]["right"])
                parts.append(f"### {name}, {budget} evaluations, {n} test texts\n\n{markdown(rows)}\n")
                if budget != SHORT_BUDGET:
                    parts.append(f"{differences(rows)}\n")
                values[f"{name}/{budget}"] = [{k: v for k, v in row.items() if k != "runs"} for row in rows]
    write_text(root / "tables.md", "\n".join(parts))
    write_json(root / "tables.json", values)
    fill(Path(__file__).parents[1] / "docs" / "results.md", "tables", "\n".join(parts))
    print("\n".join(parts))


def draw(root: Path, out: Path) -> None:
    """Learning curves on the films, and accuracy against perplexity."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cells = [c for c in found_cells(root) if c["data"] == "films" and c["evaluations"] == BUDGET]
    tested = json.loads((root / "tested.json").read_text())
    out.mkdir(parents=True, exist_ok=True)
    if not cells:
        return
    figure, (curves, scatter) = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for color, method in zip(("C3", "C0", "C1", "C7"), METHODS, strict=True):
        runs = [c for c in cells if c["method"] == method]
        if not runs:
            continue
        longest = max((r["curve"] for r in runs), key=len)
        means = torch.tensor([[p["mean"] for p in r["curve"]] for r in runs if len(r["curve"]) == len(longest)])
        x = [p["evaluations"] for p in longest]
        curves.plot(x, means.mean(0), color=color, label=f"{method} ({len(means)} seeds)")
        curves.fill_between(x, means.amin(0), means.amax(0), color=color, alpha=0.15)
        right = [tested["right"][ALL_FILMS].get(r["prompt"]) for r in runs]
        points = [
            (tested["perplexity"][r["prompt"]], g.count("1") / len(g))
            for r, g in zip(runs, right, strict=True)
            if g and tested["perplexity"].get(r["prompt"])
        ]
        scatter.scatter(*zip(*points, strict=True), color=color, label=method)
    for (name, prompt), marker in zip(list(hand_written("films").items())[1:], "x+", strict=True):
        right = tested["right"][ALL_FILMS][prompt]
        scatter.scatter(
            tested["perplexity"][prompt], right.count("1") / len(right), color="k", marker=marker, label=name
        )
    curves.set(xlabel="evaluations", ylabel="mean training reward of a step", title="Learning on film reviews")
    scatter.set(xscale="log", xlabel="perplexity under Gemma 3 270M", ylabel="test accuracy", title="What was found")
    curves.legend()
    scatter.legend()
    figure.savefig(out / "films.png", dpi=110)
    pyplot.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT")
    parser.add_argument("--tables", action="store_true", help="test what was found and write the tables, nothing else")
    parser.add_argument("--root", type=Path, default=Path("runs/results"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder that holds 16-shot/")
    arguments = parser.parse_args()
    for name in arguments.experiments:
        if name not in EXPERIMENTS:
            parser.error(f"unknown experiment {name!r}; valid: {', '.join(EXPERIMENTS)}")
    docs = Path(__file__).parents[1] / "docs"
    restore(arguments.root, docs / "results.json")
    if not arguments.tables:
        for experiment in arguments.experiments or EXPERIMENTS:
            for cell in plan(experiment, arguments.root, arguments.data):
                search(cell)
    write_tables(arguments.root, arguments.data)
    publish(arguments.root, docs / "results.json")
    draw(arguments.root, docs / "figures")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Fills the tables of docs/tasks.md: style transfer and prompts from pictures, through the program's own run folders.

Every cell (data, seed, method) is a run folder that is resumed where it was killed and skipped when it is done, so
several processes may share the work: start it twice.

    python benchmarks/tasks.py restyle      # Yelp, both directions: three seeds, every method
    python benchmarks/tasks.py invert       # photographs and the targets of PIN's own experiment
    python benchmarks/tasks.py --tables     # no search: write tables and figures from what is there

Found and tested results go to ``docs/tasks.json``, from which a fresh clone writes its tables and figures.
"""

import argparse
import functools
import importlib.util
import itertools
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from pages import DIRECTIONS, METHODS, TASK_MODELS, fill_from

from hardprompt.errors import InputError
from hardprompt.lms import embedding
from hardprompt.lms import image_text as towers
from hardprompt.lms import load as models
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.models import Models
from hardprompt.runs import run
from hardprompt.search.files import write_bytes, write_json
from hardprompt.tasks.invert.images import grid, png, read_image
from hardprompt.tasks.invert.task import Invert
from hardprompt.tasks.restyle.reward import Restyle
from hardprompt.tasks.restyle.task import StyleRun
from hardprompt.tasks.settings import Search

DOCS = Path(__file__).parents[1] / "docs"
COLORS = ("C3", "C0", "C1", "C7")
SEEDS = (0, 1, 2)
MANUAL = "Change the following sentence from {} sentiment to {} sentiment but keep its semantics."
PHOTOS = {
    "sklearn.datasets": ("china.jpg", "flower.jpg"),
    "skimage": ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg"),
}
LEXICA = tuple(f"{number}.jpg" for number in range(10))


def restyle_cells(root: Path, data: Path) -> Iterator[tuple[Path, Search]]:
    folder = data / "yelp-style"
    for (prefix, (model, evaluations, methods)), seed, (source, target) in itertools.product(
        TASK_MODELS.items(), SEEDS, DIRECTIONS.values()
    ):
        for method in methods:
            words = ["negative", "positive"] if source == "0" else ["positive", "negative"]
            yield root / "restyle" / f"{prefix}{source}to{target}-{method}-{seed}", StyleRun(
                texts=str(folder / f"sentiment.train.{source}.clean"),
                target_examples=str(folder / f"sentiment.train.{target}.clean"),
                validation=str(folder / f"sentiment.dev.{source}.clean"),
                test=str(folder / f"sentiment.test.{source}.clean"),
                references=str(folder / f"sentiment.ref.{source}.clean"),
                manual=MANUAL.format(*words), task_model=model, method=method, seed=seed, evaluations=evaluations,
                shots=6, samples=2, validate_on=16, validate_every=6, test_on=100, threads=1,
            )  # fmt: skip


def pictures(data: Path) -> list[Path]:
    """The photographs of two packages, which are found without being imported, and PIN's targets."""
    found = []
    for package, names in PHOTOS.items():
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise SystemExit(f"the photographs are in a package that is not installed: {package}")
        base = Path(spec.submodule_search_locations[0])
        found += [base / ("images" if package.startswith("sklearn") else "data") / name for name in names]
    return [*found, *(data / "images" / "lexica" / name for name in LEXICA)]


def name_of(path: Path) -> str:
    return path.stem if path.stem.isalpha() else f"lexica-{path.stem}"


def invert_cells(root: Path, data: Path) -> Iterator[tuple[Path, Search]]:
    for seed in SEEDS:
        for path in pictures(data):
            for method in METHODS:
                name = path.stem if path.stem.isalpha() else f"lexica-{path.stem}"
                yield (
                    root / "invert" / f"{name}-{method}-{seed}",
                    Invert(images=(str(path),), method=method, seed=seed, evaluations=192, threads=1),
                )


CELLS = {"restyle": restyle_cells, "invert": invert_cells}
MODELS = Models(keep=True)


def share() -> None:
    """Load each model once for all cells, and rewrite and judge each text once."""
    models.load_causal = functools.cache(models.load_causal)
    embedding.load_embedder = functools.cache(embedding.load_embedder)
    towers.load_image_text = functools.cache(towers.load_image_text)
    outputs, perplexity = Restyle.outputs, CausalLM.perplexity
    written: dict[Any, Any] = {}
    judged: dict[Any, float] = {}

    def once(self: Restyle, prompts: Sequence[str], at: Sequence[int] | None = None) -> Any:
        if len(self.texts) < 100:  # the test texts only: a search has a memory of its own
            return outputs(self, prompts, at)
        key = (tuple(self.texts), tuple(prompts), self._seed, self._samples)
        if key not in written:
            written[key] = outputs(self, prompts, at)
        return written[key]

    def known(self: CausalLM, texts: Sequence[str]) -> torch.Tensor:
        new = [text for text in dict.fromkeys(texts) if (id(self.model), text) not in judged]
        for text, value in zip(new, perplexity(self, new).tolist(), strict=True):
            judged[id(self.model), text] = value
        return torch.tensor([judged[id(self.model), text] for text in texts])

    Restyle.outputs, CausalLM.perplexity = once, known


def search(folder: Path, config: Search) -> None:
    if (folder / "result.json").is_file():
        return
    try:
        if not (folder / "run.yaml").is_file():
            config = run.start(config, folder)
        print(folder, flush=True)
        run.execute(folder, config, models=MODELS)
    except InputError as error:  # another process has it
        print(f"  left alone: {error}", flush=True)


def collect(root: Path) -> None:
    """Put every finished cell into ``docs/tasks.json``."""
    path = DOCS / "tasks.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    for task in CELLS:
        for file in sorted((root / task).glob("*/result.json")):
            result = json.loads(file.read_text())
            steps = [json.loads(line) for line in (file.parent / "steps.jsonl").read_text().splitlines()]
            result.pop("versions")
            for key in ("images", "examples"):  # data and paths are not published
                result.pop(key, None)
            result["curve"] = [[s["evaluations"], statistics.fmean(s["rewards"]), s["best_reward"]] for s in steps]
            found.setdefault(task, {})[file.parent.name] = result
    write_json(path, found)


def draw(found: dict[str, Any], data: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = [
        *(("restyle", name, f"{a}to{b}-", 1, "mean reward of a step") for name, (a, b) in DIRECTIONS.items()),
        ("invert", "pictures", "", 2, "best cosine so far"),
    ]
    figure, axes = pyplot.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    for axis, (task, name, prefix, column, label) in zip(axes, groups, strict=True):
        for method, color in zip(METHODS, COLORS, strict=True):
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
    (DOCS / "figures").mkdir(exist_ok=True)
    figure.savefig(DOCS / "figures" / "tasks.png", dpi=100)
    pyplot.close(figure)
    cells = found.get("invert", {})
    rows = []
    for path in pictures(data)[: -len(LEXICA)] if cells else []:  # the free ones
        lines = [name_of(path)]
        for method in METHODS:
            runs = [v for k, v in cells.items() if k.startswith(f"{name_of(path)}-{method}-") and v["method"] == method]
            if runs:
                best = max(runs, key=lambda v: v["test"]["cosine"])
                lines.append(f"{method} {best['test']['cosine']:.2f}: {best['prompt']}")
        rows.append((read_image(path), "\n".join(lines)))
    if rows:
        write_bytes(DOCS / "figures" / "pictures.png", png(grid([rows[:3], rows[3:]], width=330)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", metavar="TASK")
    parser.add_argument("--tables", action="store_true", help="search nothing")
    parser.add_argument("--root", type=Path, default=Path("runs/tasks"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of yelp-style/ and images/")
    arguments = parser.parse_args()
    for name in arguments.tasks:
        if name not in CELLS:
            parser.error(f"unknown task {name!r}; valid: {', '.join(CELLS)}")
    share()
    if not arguments.tables:
        for task in arguments.tasks or CELLS:
            for folder, config in CELLS[task](arguments.root, arguments.data):
                search(folder, config)
    collect(arguments.root)
    found = json.loads((DOCS / "tasks.json").read_text())
    for task in CELLS:
        fill_from(DOCS, "tasks.md", task, found)
    draw(found, arguments.data)
    return 0


if __name__ == "__main__":
    sys.exit(main())

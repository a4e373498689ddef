"""Measures docs/results.md, docs/compare.md and docs/tasks.md: runs recipes, then makes tables and figures of them.

    python benchmarks/results.py films          # film reviews, three seeds
    python benchmarks/results.py prior prior-sst-2 fewshot methods yelp yelp-gemma3 pictures
    python benchmarks/results.py                # all of it
    python benchmarks/results.py --tables       # no search: from what is finished, and from what is published
    python benchmarks/results.py films --root /tmp/films --docs /tmp/docs -- --evaluations 16 --seeds 0   # a trial

What follows the two dashes is for ``hardprompt compare``; a trial publishes into a copy of docs/.

Each experiment is ``hardprompt compare`` of a file in ``recipes/`` and has a folder in ``--root``, which goes on where
it was stopped. What is measured takes the place of what docs/*.json has of the same test set.
"""

import argparse
import importlib.util
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import collect
import drawing
from pages import METHODS, fill_from

from hardprompt.cli.interrupt import INTERRUPTED
from hardprompt.cli.main import main as program
from hardprompt.runs.folder import COMPARISON
from hardprompt.search.writing import write_json, write_text

HOME = Path(__file__).parents[1]
HAND_WRITTEN = ("empty", "manual", "instruction")
PHOTOGRAPHS = {
    "sklearn.datasets": ("images", ("china.jpg", "flower.jpg")),
    "skimage": ("data", ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")),
}


@dataclass(frozen=True)
class Experiment:
    """A recipe with what is typed beside it, and the file of docs/ that holds what it finds."""

    recipe: str
    page: str
    flags: Sequence[str] = ()


EXPERIMENTS = {
    "films": Experiment("films", "results"),
    "prior": Experiment("prior", "results", ("--test-rows", "500")),
    "prior-sst-2": Experiment("prior-sst-2", "results", ("--test-rows", "500")),
    "fewshot": Experiment(
        "few-shot", "results", ("--test-rows", "500", "--methods", *HAND_WRITTEN, *reversed(METHODS))
    ),
    "methods": Experiment(
        "few-shot", "compare",
        ("--test-rows", "200", "--evaluations", "96", "--reference", "pin-prior", "--data", "sst-2", "cr", "subj",
         "agnews"),
    ),
    "yelp": Experiment("yelp", "tasks", ("--models", "smollm2")),
    "yelp-gemma3": Experiment(
        "yelp", "tasks", ("--models", "gemma3", "--methods", "best-of-n", "rlprompt", "pin-prior")
    ),
    "pictures": Experiment("pictures", "tasks"),
}  # fmt: skip


def pictures(data: Path, out: Path) -> Path:
    """A folder of data with the photographs of two packages, which are not imported, and the papers' targets."""
    folders = {"photographs": [], "lexica": sorted((data / "images" / "lexica").glob("*.jpg"))}
    for package, (inside, names) in PHOTOGRAPHS.items():
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise SystemExit(f"the photographs are in a package that is not installed: {package}")
        folders["photographs"] += [Path(spec.submodule_search_locations[0]) / inside / name for name in names]
    for name, files in folders.items():
        (out / "images" / name).mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copy(file, out / "images" / name / file.name)
    return out


def run(name: str, root: Path, data: Path, more: Sequence[str]) -> int:
    """Begin or go on with an experiment; the exit code of ``hardprompt compare``."""
    experiment, out = EXPERIMENTS[name], root / name
    if (out / COMPARISON).is_file():
        return program(["resume", str(out)])
    folder = pictures(data, root / "pictures-data") if name == "pictures" else data
    given = ["--folder", str(folder)] if folder.is_dir() else []
    recipe = str(HOME / "recipes" / f"{experiment.recipe}.yaml")
    return program(["compare", recipe, *experiment.flags, *given, "--out", str(out), *more])


def publish(root: Path, docs: Path) -> None:
    """Bring docs/*.json up to what the folders of the experiments hold, and their tables and figures with it."""
    figures = docs / "figures"
    begun = {name: root / name for name in EXPERIMENTS if (root / name / COMPARISON).is_file()}
    of = {page: [out for name, out in begun.items() if EXPERIMENTS[name].page == page] for page in ("results", "tasks")}
    known = json.loads((docs / "results.json").read_text())
    if of["results"]:
        known = collect.results(of["results"], known)
        write_text(docs / "results.json", json.dumps(known, ensure_ascii=False) + "\n")
    fill_from(docs, "results.md", "tables", known)
    drawing.films(known, figures)
    tasks = json.loads((docs / "tasks.json").read_text())
    if of["tasks"]:
        tasks = collect.tasks(of["tasks"], tasks)
        write_json(docs / "tasks.json", tasks)
    for mark in ("restyle", "invert"):
        fill_from(docs, "tasks.md", mark, tasks)
    drawing.tasks(tasks, figures)
    photographs = root / "pictures-data" / "images" / "photographs"
    drawing.pictures(tasks, [photographs / name for _, names in PHOTOGRAPHS.values() for name in names], figures)
    if "methods" in begun and (begun["methods"] / "result.json").is_file():
        found = collect.comparison(begun["methods"])
        write_json(docs / "compare.json", found)
        for page in ("results.md", "compare.md"):
            fill_from(docs, page, "compare", found)
        for name in found["figures"]:
            shutil.copy(begun["methods"] / name, figures / f"compare-{name}")


def main() -> int:
    own, more = sys.argv[1:], []
    if "--" in own:
        at = own.index("--")
        own, more = own[:at], own[at + 1 :]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help=f"{', '.join(EXPERIMENTS)}; all if none")
    parser.add_argument("--tables", action="store_true", help="search nothing")
    parser.add_argument("--root", type=Path, default=Path("runs/results"), help="folder of the experiments' folders")
    parser.add_argument("--folder", type=Path, default=Path("../shared/data"), help="of the data sets")
    parser.add_argument("--docs", type=Path, default=HOME / "docs", help="folder of what is published")
    arguments = parser.parse_args(own)
    for name in arguments.experiments:
        if name not in EXPERIMENTS:
            parser.error(f"unknown experiment {name!r}; valid: {', '.join(EXPERIMENTS)}")
    worst = 0
    for name in [] if arguments.tables else arguments.experiments or EXPERIMENTS:
        code = run(name, arguments.root, arguments.folder, more)
        if code == INTERRUPTED:
            return code
        worst = max(worst, code)  # a cell failed, or data are missing: what else there is, is of use
    publish(arguments.root, arguments.docs)
    return worst


if __name__ == "__main__":
    sys.exit(main())

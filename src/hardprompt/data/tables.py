"""Reads labelled texts from CSV, TSV, JSONL and Parquet, and splits them."""

import contextlib
import math
import random
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hardprompt.data.files import is_table, lines, place, records
from hardprompt.data.once import read_once
from hardprompt.data.saying import say_once
from hardprompt.errors import InputError, unknown

_NAMED = 5  # rows that a warning names
_DRAW = 0  # the seed of what is left out of a set that is too large
_MANY = 20  # classes up to which a column is not asked whether it is one
_MISSING = {"nan", "-nan", "<na>", "na", "n/a", "#n/a", "none", "null", "nat"}  # as pandas and others write one
_RARE = 0.5  # of the smallest other class: a class of such a name with fewer rows is taken for missing values


@dataclass(frozen=True)
class Example:
    """A text and its class."""

    text: str
    label: str
    where: str = field(default="", compare=False)  # in which file and line it stands, if in one


@dataclass(frozen=True)
class Row:
    """One labelled text, with the group that it must not be parted from (a film, an author), if any."""

    text: str
    label: str
    group: str | None = None
    number: int = field(default=0, compare=False)  # of the line of the file on which it begins; of Parquet, of its row
    file: str = field(default="", compare=False)  # its name

    @property
    def where(self) -> str:
        """In which file and line it stands; empty where it is of none."""
        return place(self.file, self.number) if self.file else ""

    @property
    def example(self) -> Example:
        """Without the group."""
        return Example(self.text, self.label, self.where)


@dataclass(frozen=True)
class Text:
    """A text of a file, and the number of its line there, or of its row in Parquet."""

    text: str
    number: int
    file: str  # its name


@read_once
def read_rows(
    path: str | Path, *, text: str, label: str, group: str | None = None, encoding: str | None = None
) -> list[Row]:
    """Read one labelled text per record.

    In TSV a quotation mark is an ordinary character; in CSV it encloses fields. A row without a text or a class is left
    out, with a warning; None and NaN are neither.

    Args:
        path: a .csv, .tsv, .jsonl (or .ndjson) or .parquet file.
        text: column of the texts.
        label: column of the classes.
        group: column that keeps rows together when a set is split; a row without one is of no group, which is said.
        encoding: as Python calls it; None is UTF-8, UTF-16 with its mark or, after saying so, Windows-1252.

    Raises:
        InputError: the file is missing, empty, not text or malformed; columns are not there; a value is no text; no
            row has both.
        MissingExtra: Parquet without pyarrow.
    """
    file = _file(path)
    rows: list[Row] = []
    blank: dict[str, list[int]] = {text: [], label: []}
    for number, record in records(file, encoding, [name for name in (text, label, group) if name is not None]):
        value, kind = _field(record, text, file, number, label, group), _field(record, label, file, number).strip()
        own = _field(record, group, file, number).strip() or None if group else None
        if not value.strip():
            blank[text].append(number)
        elif not kind:
            blank[label].append(number)
        else:
            rows.append(Row(value, kind, own, number, file.name))
    if not rows:
        lacking = " with a text and a class" if any(blank.values()) else ""
        raise InputError(f"data file {str(path)!r} has a header but no rows{lacking}.")
    for column, numbers in blank.items():
        if numbers:  # published test sets have some too
            named = place(file, numbers[0]).partition(" ")[0]
            shown = ", ".join(map(str, numbers[:_NAMED])) + (", ..." if len(numbers) > _NAMED else "")
            say_once(f"left out of {path}: {len(numbers)} with an empty {column!r}, in {named} {shown}")
    if group:
        _say_groups(path, rows, group)
    return rows


def _say_groups(path: str | Path, rows: Sequence[Row], column: str) -> None:
    """Say which rows are of no group, and which of one that may be a missing value."""
    alone = [row for row in rows if row.group is None]
    if alone:
        say_once(
            f"{len(alone)} of {len(rows)} rows of {path} have no group in {column!r}, {alone[0].where} first: each is "
            "taken by itself"
        )
    for name, n in Counter(row.group for row in rows if row.group and row.group.lower() in _MISSING).items():
        say_once(f"{n} rows of {path} are kept together as the group {name!r}; empty these cells if it is none")


def check_classes(path: str | Path, rows: Sequence[Row], *, text: str, label: str, encoding: str | None = None) -> None:
    """Raise an InputError for a column of classes that has a value of its own for most rows, as an identifier has."""
    kinds = {row.label for row in rows}
    if len(kinds) <= max(_MANY, len(rows) / 2):
        return
    values: dict[str, set[str]] = defaultdict(set)
    with contextlib.suppress(InputError):  # a column of Parquet that cannot be read is none to offer
        for _, record in records(Path(path), encoding, [text, label], others=True):
            for name, value in record.items():
                if len(values[str(name)]) <= _MANY:
                    values[str(name)].add(str(value))
    few = [f"{n!r} ({len(v)})" for n, v in values.items() if n not in (text, label) and 1 < len(v) <= _MANY]
    hint = f" Columns of few values: {', '.join(few)}." if few else ""
    raise InputError(
        f"the column {label!r} of {str(path)!r} has {len(kinds)} different values in {len(rows)} rows: it is no class."
        f"{hint}"
    )


def check_missing(rows: Sequence[Row], known: Container[str] = ()) -> None:
    """See that no class is a missing value that was written as a word, such as ``nan``; of a frequent one it is said.

    Args:
        rows: of one file.
        known: classes that the user has named.

    Raises:
        InputError: a class of such a name, with fewer rows than half of the smallest other class.
    """
    sizes = Counter(row.label for row in rows)
    least = min((n for name, n in sizes.items() if name.lower() not in _MISSING), default=0)
    for name, n in sizes.items():
        if name.lower() not in _MISSING or name in known:
            continue
        first = next(row for row in rows if row.label == name)
        said = f"{n} rows have the class {name!r}, {first.where} first"
        if n < _RARE * least:
            raise InputError(
                f"{said}: few enough to be missing values that a program wrote as a word; empty these cells, or give "
                "the class another name."
            )
        say_once(f"{said}: it is taken as a class; empty these cells if it is a missing value")


@read_once
def read_texts(path: str | Path, *, text: str | None = None, encoding: str | None = None) -> list[Text]:
    """Read a text from each line, or from the column ``text`` of a table; blank ones are kept, as empty strings.

    Raises:
        InputError: the file is missing, empty, not text or malformed; the column is not there; no text at all.
        MissingExtra: Parquet without pyarrow.
    """
    file = _file(path)
    found: Iterable[tuple[int, str]]
    if not is_table(file):
        found = enumerate(lines(file, encoding), 1)
    elif text is None:
        raise InputError(f"{str(path)!r} is a table; name the column of its texts with --text COLUMN.")
    else:
        found = ((number, _field(record, text, file, number)) for number, record in records(file, encoding, [text]))
    texts = [Text(one.strip(), number, file.name) for number, one in found]
    if not any(one.text for one in texts):
        raise InputError(f"data file {str(path)!r} has no text.")
    return texts


def drawn(labels: Sequence[str], most: int | None, part: str) -> list[int]:
    """Up to ``most`` rows of a set (None: all), by their numbers in order: each class with its share, one at least.

    ``part`` is the set's name, for a message.

    The draw is the same for every seed of a search, so that all are measured alike.

    Raises:
        InputError: fewer than there are classes.
    """
    if most is None or len(labels) <= most:
        return list(range(len(labels)))
    members: dict[str, list[int]] = defaultdict(list)
    for i, label in enumerate(labels):
        members[label].append(i)
    if most < len(members):
        raise InputError(
            f"--{part}-rows is {most} and the {part} set has {len(members)} classes, of which each needs a row; give "
            f"--{part}-rows {len(members)} or more."
        )
    shares = {label: max(1.0, most * len(own) / len(labels)) for label, own in members.items()}
    sizes = {label: int(share) for label, share in shares.items()}
    # What rounding leaves goes to the largest remainders; what the smallest classes took beyond it, from the largest.
    for label in sorted(shares, key=lambda name: (sizes[name] - shares[name], name))[
        : max(0, most - sum(sizes.values()))
    ]:
        sizes[label] += 1
    while sum(sizes.values()) > most:
        sizes[max(sizes, key=lambda name: (sizes[name], name))] -= 1
    return sorted(i for label, own in members.items() for i in random.Random(_DRAW).sample(own, sizes[label]))


def say_left_out(path: str, sizes: Mapping[str, tuple[int, int]]) -> None:
    """One line where rows of a run on a file are left out: of each set by its name, how many are kept of how many."""
    cut = {name: (kept, whole) for name, (kept, whole) in sizes.items() if kept < whole}
    if cut:
        parts = (
            f"{whole - kept:,} of {whole:,} for {name} (--{name}-rows {kept})" for name, (kept, whole) in cut.items()
        )
        say_once(f"of {path} and what goes with it rows are left out, drawn at random: {', '.join(parts)}")


def few_shot(rows: Sequence[Row], shots: int, *, seed: int) -> list[Row]:
    """Draw ``shots`` rows of every class, in their order.

    Raises:
        InputError: a class has fewer rows than ``shots``.
    """
    if shots < 1:
        raise InputError(f"shots is {shots}; it must be at least 1.")
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    by_class: dict[str, list[int]] = defaultdict(list)
    for i in order:
        by_class[rows[i].label].append(i)
    taken: list[int] = []
    for label in sorted(by_class):
        members = by_class[label]
        if len(members) < shots:
            raise InputError(
                f"class {label!r} has {len(members)} examples to train on, fewer than the {shots} shots asked for; "
                "lower --shots, or leave such classes out with --drop-small-classes."
            )
        taken += members[:shots]
    return [rows[i] for i in sorted(taken)]


def split(rows: Sequence[Row], fraction: float, *, seed: int, strict: bool = True) -> tuple[list[Row], list[Row]]:
    """Part ``rows`` in two, the second with about ``fraction`` of every class.

    Rows of one group, or else of one text, stay on one side.

    Raises:
        InputError: a class would be missing on one side, if ``strict``.
    """
    units: dict[Any, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        units[("group", row.group) if row.group is not None else ("text", row.text.strip())].append(i)
    order = list(units.values())
    random.Random(seed).shuffle(order)
    total = Counter(row.label for row in rows)
    wanted = {label: max(1, round(fraction * n)) for label, n in total.items()}
    second: set[int] = set()
    have: Counter[str] = Counter()
    for unit in order:
        labels = [rows[i].label for i in unit]
        if any(have[label] < wanted[label] for label in labels):
            second.update(unit)
            have.update(labels)
    missing = sorted(set(total) - {row.label for i, row in enumerate(rows) if i not in second})
    if missing and strict:
        kind = "groups" if any(row.group for row in rows) else "examples"
        raise InputError(
            f"class {missing[0]!r} has too few {kind} to be split; give more data, a validation and a test file, or "
            "leave such classes out with --drop-small-classes."
        )
    return [r for i, r in enumerate(rows) if i not in second], [r for i, r in enumerate(rows) if i in second]


def classes(rows: Iterable[Row]) -> list[str]:
    """The labels, sorted, numbers by value.

    Raises:
        InputError: fewer than two.
    """
    found = {row.label for row in rows}
    if len(found) < 2:
        raise InputError(f"the data has one class only, {next(iter(found), '')!r}; classification needs two or more.")
    return sorted(found, key=_by_value)


def _by_value(label: str) -> tuple[int, float, str]:
    try:
        value = float(label)
    except ValueError:
        value = math.nan
    return (0, value, label) if math.isfinite(value) else (1, 0.0, label)


def _file(path: str | Path) -> Path:
    file = Path(path)
    if not file.is_file():
        raise InputError(
            f"data file {str(path)!r} does not exist." if not file.exists() else f"{str(path)!r} is no file."
        )
    if file.stat().st_size == 0:
        raise InputError(f"data file {str(path)!r} is empty.")
    return file


def _field(record: Mapping[str, Any], column: str, file: Path, number: int, *others: str | None) -> str:
    """The text in a column, "" where there is none; ``others`` are columns that are looked for as well."""
    if column not in record:
        absent = [name for name in (column, *others) if name is not None and name not in record]
        # In JSON lines each object has names of its own.
        where = (
            f"{place(file, number)}, column"
            if file.suffix.lower() in (".jsonl", ".ndjson")
            else f"column of {file.name}"
        )
        said = str(unknown(where, absent[0], map(str, record)))
        more = "".join(f" Nor is there a column {name!r}." for name in absent[1:])
        raise InputError(said + more)
    value = record[column]
    where = place(file, number)
    if value is None or value != value:  # NaN, and pandas' NaT, equal nothing
        return ""
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{where} has bytes in {column!r} that are no UTF-8 text.") from error
    if isinstance(value, list | dict | tuple):
        raise InputError(f"{where} has {type(value).__name__} {str(value)[:40]!r} as {column!r}; a text was expected.")
    text = str(value)
    if "\0" in text:
        raise InputError(f"{where} has a NUL in {column!r}, which is no text.")
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        raise InputError(f"{where} has half a character (a lone surrogate) in {column!r}; write it anew.")
    return text

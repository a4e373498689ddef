"""Reads labelled texts from CSV, TSV, JSONL and Parquet, and splits them."""

import csv
import io
import json
import logging
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardprompt.errors import InputError, MissingExtra, unknown

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """A text and its class."""

    text: str
    label: str


@dataclass(frozen=True)
class Row:
    """One labelled text, with the group that it must not be parted from (a film, an author), if any."""

    text: str
    label: str
    group: str | None = None

    @property
    def example(self) -> Example:
        """Without the group."""
        return Example(self.text, self.label)


def read_rows(path: str | Path, *, text: str, label: str, group: str | None = None) -> list[Row]:
    """Read one labelled text per record.

    In TSV a quotation mark is an ordinary character; in CSV it encloses fields. The encoding is UTF-8. A row without a
    text is left out, with a warning.

    Args:
        path: a .csv, .tsv, .jsonl (or .ndjson) or .parquet file.
        text: column of the texts.
        label: column of the classes.
        group: column that keeps rows together when a set is split.

    Raises:
        InputError: the file is missing, empty, not text or malformed; a column is not there; no row has a text.
        MissingExtra: Parquet without pyarrow.
    """
    file = _file(path)
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise unknown("data format", file.suffix or file.name, _READERS)
    rows, blank = [], []
    for number, record in enumerate(reader(file), 1):
        for column in (text, label, *([group] if group else [])):
            if column not in record:
                raise unknown(f"column of {file.name}", column, [str(name) for name in record if name is not None])
        value = _string(record[text])
        if not value.strip():
            blank.append(number)
            continue
        kind = _string(record[label]).strip()
        if not kind:
            raise InputError(f"row {number} of {str(path)!r} has an empty {label!r}.")
        rows.append(Row(value, kind, _string(record[group]) if group else None))
    if not rows:
        raise InputError(f"data file {str(path)!r} has a header but no rows{' with a text' if blank else ''}.")
    if blank:  # published test sets have some too
        _LOG.warning("left out of %s: %d with an empty %r, the first in row %d", path, len(blank), text, blank[0])
    return rows


def read_texts(path: str | Path, *, text: str | None = None) -> list[str]:
    """Read a text from each line, or from the column ``text`` of a table; blank ones are kept, as empty strings.

    Raises:
        InputError: the file is missing, empty, not text or malformed; the column is not there; no text at all.
        MissingExtra: Parquet without pyarrow.
    """
    file = _file(path)
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        # Only these end a line: str.splitlines would also break a text at what a writer may use inside it.
        lines = _read_text(file).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        texts = [line.strip() for line in lines[: -1 if lines[-1] == "" else None]]
    elif text is None:
        raise InputError(f"{str(path)!r} is a table; name the column of its texts with --text COLUMN.")
    else:
        texts = []
        for record in reader(file):
            if text not in record:
                raise unknown(f"column of {file.name}", text, [str(name) for name in record if name is not None])
            texts.append(_string(record[text]).strip())
    if not any(texts):
        raise InputError(f"data file {str(path)!r} has no text.")
    return texts


def _file(path: str | Path) -> Path:
    file = Path(path)
    if not file.is_file():
        raise InputError(
            f"data file {str(path)!r} does not exist." if not file.exists() else f"{str(path)!r} is no file."
        )
    if file.stat().st_size == 0:
        raise InputError(f"data file {str(path)!r} is empty.")
    return file


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
            raise InputError(f"class {label!r} has {len(members)} examples, fewer than the {shots} shots asked for.")
        taken += members[:shots]
    return [rows[i] for i in sorted(taken)]


def split(rows: Sequence[Row], fraction: float, *, seed: int) -> tuple[list[Row], list[Row]]:
    """Part ``rows`` in two, the second with about ``fraction`` of every class.

    Rows of one group, or else of one text, stay on one side.

    Raises:
        InputError: a class would be missing on one side.
    """
    units: dict[Any, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        units[("group", row.group) if row.group is not None else ("text", row.text.strip())].append(i)
    order = list(units.values())
    random.Random(seed).shuffle(order)
    total: dict[str, int] = defaultdict(int)
    for row in rows:
        total[row.label] += 1
    wanted = {label: max(1, round(fraction * n)) for label, n in total.items()}
    second: set[int] = set()
    have: dict[str, int] = defaultdict(int)
    for unit in order:
        labels = [rows[i].label for i in unit]
        if any(have[label] < wanted[label] for label in labels):
            second.update(unit)
            for label in labels:
                have[label] += 1
    first_labels = {rows[i].label for i in range(len(rows)) if i not in second}
    missing = sorted(set(total) - first_labels)
    if missing:
        kind = "groups" if any(row.group for row in rows) else "examples"
        raise InputError(f"class {missing[0]!r} has too few {kind} to be split; give a validation file or more data.")
    return [r for i, r in enumerate(rows) if i not in second], [r for i, r in enumerate(rows) if i in second]


def classes(rows: Iterable[Row]) -> list[str]:
    """The labels, sorted, numbers by value.

    Raises:
        InputError: fewer than two.
    """
    found = {row.label for row in rows}
    if len(found) < 2:
        raise InputError(f"the data has one class only, {next(iter(found), '')!r}; classification needs two or more.")
    return sorted(found, key=lambda label: (0, int(label), label) if label.isdecimal() else (1, 0, label))


def _string(value: Any) -> str:
    return "" if value is None else str(value)


def _read_text(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"data file {str(file)!r} is not UTF-8 text (byte {error.start}).") from error
    except OSError as error:
        raise InputError(f"data file {str(file)!r} cannot be read: {error.strerror}.") from error
    if "\0" in text:
        raise InputError(f"data file {str(file)!r} is not text: it holds a NUL byte.")
    return text


def _csv(file: Path) -> Iterator[dict[str, Any]]:
    yield from _delimited(file, _read_text(file), delimiter=",", quoting=csv.QUOTE_MINIMAL)


def _tsv(file: Path) -> Iterator[dict[str, Any]]:
    yield from _delimited(file, _read_text(file), delimiter="\t", quoting=csv.QUOTE_NONE)


def _delimited(file: Path, text: str, *, delimiter: str, quoting: Any) -> Iterator[dict[str, Any]]:
    # Raw texts may be longer than csv's default field limit.
    csv.field_size_limit(1 << 30)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)
    try:
        for record in reader:
            if None in record or None in record.values():
                wanted = len(reader.fieldnames or ())
                raise InputError(f"line {reader.line_num} of {str(file)!r} does not have the header's {wanted} fields.")
            yield record
    except csv.Error as error:
        raise InputError(f"line {reader.line_num} of {str(file)!r} is malformed: {error}.") from error


def _jsonl(file: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_read_text(file).split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"line {number} of {str(file)!r} is not JSON: {error.msg}.") from error
        if not isinstance(record, dict):
            raise InputError(f"line {number} of {str(file)!r} is not a JSON object.")
        yield record


def _parquet(file: Path) -> Iterator[dict[str, Any]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("reading Parquet needs pyarrow: pip install 'hardprompt[parquet]'") from error
    try:
        table = pyarrow.parquet.read_table(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"data file {str(file)!r} is not Parquet: {str(error).splitlines()[0]}") from error
    yield from table.to_pylist()


_READERS: dict[str, Callable[[Path], Iterator[dict[str, Any]]]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".parquet": _parquet,
}

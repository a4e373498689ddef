"""Reads labelled texts from CSV, TSV, JSONL and Parquet, and splits them."""

import logging
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardprompt.data.files import is_table, lines, records
from hardprompt.errors import InputError, unknown

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
    rows, blank = [], []
    for number, record in enumerate(records(file), 1):
        value, kind = _field(record, text, file), _field(record, label, file).strip()
        own = _field(record, group, file) if group else None
        if not value.strip():
            blank.append(number)
        elif not kind:
            raise InputError(f"row {number} of {str(path)!r} has an empty {label!r}.")
        else:
            rows.append(Row(value, kind, own))
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
    if not is_table(file):
        found = lines(file)
    elif text is None:
        raise InputError(f"{str(path)!r} is a table; name the column of its texts with --text COLUMN.")
    else:
        found = [_field(record, text, file) for record in records(file)]
    texts = [one.strip() for one in found]
    if not any(texts):
        raise InputError(f"data file {str(path)!r} has no text.")
    return texts


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


def _file(path: str | Path) -> Path:
    file = Path(path)
    if not file.is_file():
        raise InputError(
            f"data file {str(path)!r} does not exist." if not file.exists() else f"{str(path)!r} is no file."
        )
    if file.stat().st_size == 0:
        raise InputError(f"data file {str(path)!r} is empty.")
    return file


def _field(record: Mapping[str, Any], column: str, file: Path) -> str:
    if column not in record:
        raise unknown(f"column of {file.name}", column, [str(name) for name in record if name is not None])
    return "" if record[column] is None else str(record[column])

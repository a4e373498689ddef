"""Files of records: CSV, TSV, JSONL and Parquet of a user's, read strictly, and CSV files of our own."""

import contextlib
import csv
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hardprompt.data.decoding import read_text
from hardprompt.data.saying import say_once
from hardprompt.errors import InputError, MissingExtra, pip_install, unknown

_SIGNS = (
    "=+@＝＋＠－-"  # a spreadsheet runs a cell that begins so, behind a tab or a line break too (OWASP, CSV injection)
)
# Where a cell begins: the text's start, or what parts cells in a spreadsheet that does not part them at commas, for
# which our quotation marks in mid-line are none. Each ' and " there counts as one more, so that the way back is unique.
_FORMULA = rf"(?:^(?=['\"]*[\t\r\n{_SIGNS}])|(?<=[;\t\r\n])(?=['\"]*[{_SIGNS}]))"
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_DOUBLED = re.compile(r'"[^"]*(?:""[^"]*)+"')  # a field as CSV writes it, with a quotation mark in it
_SEPARATORS = ",;\t|"  # of the columns of a .csv file; a comma goes before what Excel and others write
_PARQUET = ".parquet"
_Numbered = tuple[int, dict[str, Any]]

csv.field_size_limit(2**31 - 1)  # a text may be longer than Python's reader allows by itself


def is_table(file: Path) -> bool:
    """Whether its name is that of a table, and not of lines of text."""
    return file.suffix.lower() in _READERS


def place(file: str | Path, number: int) -> str:
    """Where a user finds a record: the line of a text on which it begins, the header's being 1, or a row of Parquet."""
    return f"{'row' if str(file).lower().endswith(_PARQUET) else 'line'} {number} of {str(file)!r}"


def records(
    file: Path, encoding: str | None = None, wanted: Sequence[str] = (), *, others: bool = False
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The records of a table by column, one after the other, each with its number, as ``place`` has it.

    Args:
        file: its path, which says what kind of table it is.
        encoding: of a text, as ``read_text`` has it.
        wanted: columns that will be asked for, which tell the separator of a .csv file.
        others: whether those that are not wanted are read of Parquet too, as they are of all else.

    Raises:
        InputError: the file is no table, is not text or malformed.
        MissingExtra: Parquet without pyarrow.
    """
    if not is_table(file):
        raise unknown("data format", file.suffix or file.name, _READERS)
    suffix = file.suffix.lower()
    return _READERS[suffix](file, encoding, () if others and suffix == _PARQUET else wanted)


def lines(file: Path, encoding: str | None = None) -> list[str]:
    """The lines of a text, without the empty one after a last line end.

    Raises:
        InputError: the file is not text.
    """
    # Only these end a line: str.splitlines would also break a text at what a writer may use inside it.
    found = read_text(file, encoding).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return found[: -1 if found[-1] == "" else None]


def columns(file: Path, *names: str) -> list[list[str]]:
    """Columns of a CSV file of ours for people, row by row, as they were before ``csv_text`` defused them."""
    with file.open(encoding="utf-8", newline="") as stream:
        return [[_undone(row[name]) for name in names] for row in csv.DictReader(stream)]


def csv_text(head: Sequence[str], rows: Iterable[Sequence[Any]], *, data: bool = False) -> str:
    """A CSV file of ours for people: texts in quotation marks, a ' before what a spreadsheet would run as a formula.

    A number, of a class say, stays one. With ``data`` the texts stand as they are: the file is one that hardprompt
    reads as a user's.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, quoting=csv.QUOTE_MINIMAL if data else csv.QUOTE_NONNUMERIC)
    writer.writerows([head, *rows] if data else ([_defused(cell) for cell in row] for row in [head, *rows]))
    return stream.getvalue()


def _defused(cell: Any) -> Any:
    return cell if not isinstance(cell, str) or _NUMBER.fullmatch(cell) else re.sub(_FORMULA, "'", cell)


def _undone(cell: str) -> str:
    return re.sub(_FORMULA + "'", "", cell)


def _unique(names: Iterable[str], file: Path) -> None:
    """Raise an InputError for a name that stands twice."""
    if twice := [name for name, times in Counter(names).items() if name and times > 1]:
        raise InputError(f"the header of {str(file)!r} names the column {twice[0]!r} twice; which one is not clear.")


def _delimited(
    file: Path, encoding: str | None, wanted: Sequence[str], *, delimiter: str, quoting: Any
) -> Iterator[_Numbered]:
    text = read_text(file, encoding)
    first, above = io.StringIO(text, newline="").readline(), 0
    if delimiter == ",":
        if said := re.fullmatch(r"sep=(.)\r?\n?", first):  # Excel's own word for it, which is no row
            text, delimiter, above = text[len(first) :], said[1], 1
        else:
            delimiter = _separator(text, quoting, wanted)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    head: list[str] | None = None
    doubled: list[int] = []
    try:
        begin = 1
        for row in reader:
            number, begin = begin + above, reader.line_num + 1
            if not row:  # a line without anything
                continue
            if head is None:
                _unique(head := row, file)
                continue
            if len(row) != len(head):
                raise InputError(f"{place(file, number)} does not have the header's {len(head)} fields.")
            if quoting == csv.QUOTE_NONE and any(map(_DOUBLED.fullmatch, row)):
                doubled.append(number)
            yield number, dict(zip(head, row, strict=True))
    except csv.Error as error:
        raise InputError(f"{place(file, reader.line_num + above)} is malformed: {error}.") from error
    if doubled:
        say_once(
            f"{len(doubled)} rows of {file} have quotation marks as CSV writes them, line {doubled[0]} first: in TSV "
            "they are letters; call the file .csv if they enclose fields"
        )


def _separator(text: str, quoting: Any, wanted: Sequence[str]) -> str:
    """What stands between the columns: the first that makes the wanted ones of the header, or else makes several."""
    several = []
    for mark in _SEPARATORS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, quoting=quoting, strict=True)
        with contextlib.suppress(csv.Error):  # said where the file is read
            head: list[str] = next(filter(None, reader), [])
            if wanted and set(wanted) <= set(head):
                return mark
            several += [mark] if len(head) > 1 else []
    return several[0] if several else ","


def _jsonl(file: Path, encoding: str | None, _wanted: Sequence[str]) -> Iterator[_Numbered]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            raise ValueError(f"{Counter(name for name, _ in pairs).most_common(1)[0][0]!r} stands in it twice")
        return found

    for number, line in enumerate(read_text(file, encoding).split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line, object_pairs_hook=unique)
        except (RecursionError, ValueError) as error:
            said = error.msg if isinstance(error, json.JSONDecodeError) else error
            raise InputError(f"{place(file, number)} is not JSON: {said}.") from error
        if not isinstance(record, dict):
            raise InputError(f"{place(file, number)} is not a JSON object.")
        yield number, record


def _parquet(file: Path, _encoding: str | None, wanted: Sequence[str]) -> Iterator[_Numbered]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("reading Parquet needs pyarrow: " + pip_install("'hardprompt[parquet]'")) from error
    try:
        table = pyarrow.parquet.ParquetFile(file)
        names = table.schema_arrow.names
        _unique(names, file)
        asked = list(wanted) if wanted and set(wanted) <= set(names) else None  # else all, for a message to list
        batches = table.iter_batches(columns=asked)  # not the whole file as Python's objects at once
        yield from enumerate(itertools.chain.from_iterable(batch.to_pylist() for batch in batches), 1)
    except InputError:
        raise
    except (pyarrow.ArrowException, ArithmeticError, OSError, ValueError) as error:
        raise InputError(
            f"data file {str(file)!r} cannot be read as Parquet: {' '.join(str(error).split())}"
        ) from error


_READERS: dict[str, Callable[[Path, str | None, Sequence[str]], Iterator[_Numbered]]] = {
    ".csv": partial(_delimited, delimiter=",", quoting=csv.QUOTE_MINIMAL),
    ".tsv": partial(_delimited, delimiter="\t", quoting=csv.QUOTE_NONE),
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    _PARQUET: _parquet,
}

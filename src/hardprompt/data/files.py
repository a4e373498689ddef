"""Files of records: CSV, TSV, JSONL and Parquet of a user's, read strictly, and CSV files of our own."""

import codecs
import csv
import io
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hardprompt.errors import InputError, MissingExtra, unknown

_LOG = logging.getLogger(__name__)

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet runs a cell that begins so (OWASP, CSV injection)

csv.field_size_limit(2**31 - 1)  # a text may be longer than Python's reader allows by itself


def is_table(file: Path) -> bool:
    """Whether its name is that of a table, and not of lines of text."""
    return file.suffix.lower() in _READERS


def records(file: Path) -> Iterator[dict[str, Any]]:
    """The records of a table by column, one after the other.

    Raises:
        InputError: the file is no table, is not text or malformed.
        MissingExtra: Parquet without pyarrow.
    """
    if not is_table(file):
        raise unknown("data format", file.suffix or file.name, _READERS)
    return _READERS[file.suffix.lower()](file)


def lines(file: Path) -> list[str]:
    """The lines of a text, without the empty one after a last line end.

    Raises:
        InputError: the file is not text.
    """
    # Only these end a line: str.splitlines would also break a text at what a writer may use inside it.
    found = _read_text(file).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return found[: -1 if found[-1] == "" else None]


def columns(file: Path, *names: str) -> list[list[str]]:
    """Columns of a CSV file of ours for people, row by row, as they were before ``csv_text`` defused them."""
    with file.open(encoding="utf-8", newline="") as stream:
        return [[_undone(row[name]) for name in names] for row in csv.DictReader(stream)]


def csv_text(head: Sequence[str], rows: Iterable[Sequence[Any]], *, data: bool = False) -> str:
    """A CSV file of ours for people: a text that a spreadsheet would run as a formula has a ' before it.

    With ``data`` the texts stand as they are: the file is one that hardprompt reads as a user's.
    """
    stream = io.StringIO()
    csv.writer(stream).writerows([head, *(rows if data else ([_defused(cell) for cell in row] for row in rows))])
    return stream.getvalue()


def _defused(cell: Any) -> Any:
    # One more ' before those that stand there already, so that the way back is unique.
    return f"'{cell}" if isinstance(cell, str) and cell.lstrip("'").startswith(_FORMULA) else cell


def _undone(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA) else cell


def _read_text(file: Path) -> str:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"data file {str(file)!r} cannot be read: {error.strerror}.") from error
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        text = _windows(file, data, error)
    if "\0" in text:
        raise InputError(f"data file {str(file)!r} is not text: it holds a NUL byte.")
    return text


def _windows(file: Path, data: bytes, error: UnicodeDecodeError) -> str:
    """Text as Windows programs save it by default, after saying so; what is none is refused."""
    line = data.count(b"\n", 0, error.start) + 1
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        text = "\0"
    if error.encoding != "utf-8" or any(c < " " and c not in "\t\n\r\f\v" for c in text):
        raise InputError(f"data file {str(file)!r} is not UTF-8 text (line {line}, byte {error.start}).") from error
    shown = text.split("\n")[line - 1].strip()[:60]
    _LOG.warning(
        "%s is not UTF-8; it is read as Windows-1252, so line %d is %r. Save it as UTF-8 if that is wrong",
        file, line, shown,
    )  # fmt: skip
    return text


def _unique(names: Iterable[str], file: Path) -> None:
    """Raise an InputError for a name that stands twice."""
    if twice := [name for name, times in Counter(names).items() if name and times > 1]:
        raise InputError(f"the header of {str(file)!r} names the column {twice[0]!r} twice; which one is not clear.")


def _delimited(file: Path, *, delimiter: str, quoting: Any) -> Iterator[dict[str, Any]]:
    text = _read_text(file)
    head = text.split("\n", 1)[0]
    if delimiter == "," and "," not in head:  # as Excel writes it where a comma is in numbers
        delimiter = next((mark for mark in ";\t" if mark in head), delimiter)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    try:
        _unique(reader.fieldnames or (), file)
        for record in reader:
            if None in record or None in record.values():
                wanted = len(reader.fieldnames or ())
                raise InputError(f"line {reader.line_num} of {str(file)!r} does not have the header's {wanted} fields.")
            yield record
    except csv.Error as error:
        raise InputError(f"line {reader.line_num} of {str(file)!r} is malformed: {error}.") from error


def _jsonl(file: Path) -> Iterator[dict[str, Any]]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            raise ValueError(f"{Counter(name for name, _ in pairs).most_common(1)[0][0]!r} stands in it twice")
        return found

    for number, line in enumerate(_read_text(file).split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line, object_pairs_hook=unique)
        except (RecursionError, ValueError) as error:
            said = error.msg if isinstance(error, json.JSONDecodeError) else error
            raise InputError(f"line {number} of {str(file)!r} is not JSON: {said}.") from error
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
        table = pyarrow.parquet.ParquetFile(file)
        _unique(table.schema_arrow.names, file)
        for batch in table.iter_batches():  # not the whole file as Python's objects at once
            yield from batch.to_pylist()
    except InputError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise InputError(f"data file {str(file)!r} is not Parquet: {' '.join(str(error).split())}") from error


_READERS: dict[str, Callable[[Path], Iterator[dict[str, Any]]]] = {
    ".csv": partial(_delimited, delimiter=",", quoting=csv.QUOTE_MINIMAL),
    ".tsv": partial(_delimited, delimiter="\t", quoting=csv.QUOTE_NONE),
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".parquet": _parquet,
}

"""Files of records: CSV, TSV, JSONL and Parquet of a user's, read strictly, and CSV files of our own."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hardprompt.errors import InputError, MissingExtra, unknown

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
    """Columns of a CSV file of ours, row by row."""
    with file.open(encoding="utf-8", newline="") as stream:
        return [[row[name] for name in names] for row in csv.DictReader(stream)]


def csv_text(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A CSV file of ours."""
    stream = io.StringIO()
    csv.writer(stream).writerows([head, *rows])
    return stream.getvalue()


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


def _delimited(file: Path, *, delimiter: str, quoting: Any) -> Iterator[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(_read_text(file), newline=""), delimiter=delimiter, quoting=quoting)
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
    ".csv": partial(_delimited, delimiter=",", quoting=csv.QUOTE_MINIMAL),
    ".tsv": partial(_delimited, delimiter="\t", quoting=csv.QUOTE_NONE),
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".parquet": _parquet,
}

"""Files that are never half-written."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` with ``text`` in one step, on disk before the name appears."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Replace ``path`` with ``data`` in one step, on disk before the name appears."""
    aside = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with naming(path):
            aside.write_bytes(data)
            with aside.open("rb") as stream:
                os.fsync(stream.fileno())
            aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have an error in writing name the file: a disk that is full names none."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)
        raise


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` with ``value`` as JSON in one step."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def unused(out: Path) -> Path:
    """``out``, or the first of ``out-2``, ``out-3`` that is not there: only a named folder may be in the way."""
    number = 1
    while (found := out if number == 1 else out.with_name(f"{out.name}-{number}")).exists():
        number += 1
    return found

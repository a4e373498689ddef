"""Lines and JSON on standard output and standard error: any text can be written, and none steers a terminal."""

import io
import json
import logging
import sys
from typing import Any

from hardprompt.errors import visible


class _Visible(logging.Formatter):
    """Shows what a record quotes of somebody's files."""

    def format(self, record: logging.LogRecord) -> str:
        """The message, its control characters as in JSON."""
        return visible(super().format(record))


def prepare() -> None:
    """Make both streams take what their encoding lacks, and the log show what would steer a terminal."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if logging.lastResort is not None:  # what writes a warning where nobody has set up a log
        logging.lastResort.setFormatter(_Visible())


def say(message: str) -> None:
    """A line of ours on standard error."""
    print(f"hardprompt: {visible(message)}", file=sys.stderr)


def tell(text: str) -> None:
    """Lines on standard output."""
    print(visible(text))


def print_json(value: Any, *, indent: int | None = None) -> None:
    """One JSON object on standard output, in ASCII where its encoding lacks a character."""
    text = visible(json.dumps(value, ensure_ascii=False, indent=indent))
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=indent)
    print(text)

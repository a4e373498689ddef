"""Reads a user's file once in a process, however often it is asked for: to check the settings, then for the run."""

import functools
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

_FILES = 16  # that are remembered
_SETTLED = 2.0  # seconds after which no change of a file leaves its time as it was, on whatever file system

_What = TypeVar("_What")
_How = ParamSpec("_How")
_Read = Callable[Concatenate[str | Path, _How], list[_What]]


def read_once(read: _Read[_How, _What]) -> _Read[_How, _What]:
    """A reader that remembers what it read, for as long as the file is the same; what it says it says once."""
    known: OrderedDict[Any, tuple[Any, list[_What]]] = OrderedDict()

    @functools.wraps(read)
    def again(path: str | Path, /, *args: _How.args, **how: _How.kwargs) -> list[_What]:
        key = Path(path).absolute(), args, tuple(sorted(how.items()))
        before = _stamp(path)
        stamp, value = known.pop(key, (None, []))
        if stamp is None or stamp != before:
            began = time.time()
            value = read(path, *args, **how)
            if before is None or before != _stamp(path) or began - before[0] / 1e9 < _SETTLED:
                return value
        known[key] = before, value
        while len(known) > _FILES:
            known.popitem(last=False)
        return list(value)

    return again


def _stamp(path: str | Path) -> tuple[int, ...] | None:
    """What changes with a file; None where there is none."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev

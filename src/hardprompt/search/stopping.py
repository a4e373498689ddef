"""Ctrl-C: heard at once, wherever it comes, but for what has to be finished first."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class _Asked:
    stop: bool = False
    held: int = 0  # how many things have to be finished before it is heard


_asked = _Asked()  # one for all: a signal is the process's


@contextmanager
def stoppable(waiting: Callable[[], None]) -> Iterator[None]:
    """Raise KeyboardInterrupt at the first Ctrl-C while the block runs.

    Within ``finished`` it is raised at the end, and ``waiting`` is called to say so; the second is raised anywhere.
    """

    def hear(*_: Any) -> None:
        first, _asked.stop = not _asked.stop, True
        if first and _asked.held:
            waiting()
        else:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        _asked.stop = False


@contextmanager
def finished() -> Iterator[None]:
    """Let the block run to its end before a Ctrl-C is heard."""
    _asked.held += 1
    try:
        yield
    finally:
        _asked.held -= 1
    if _asked.stop and not _asked.held:
        raise KeyboardInterrupt

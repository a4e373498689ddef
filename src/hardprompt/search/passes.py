"""Tells who watches how far a long piece of work has come, from inside of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Share = Callable[[float], None]
"""Is told which share is done."""

_watch: Share | None = None  # of this process: work is done in one thread


@contextmanager
def watched(watch: Share) -> Iterator[None]:
    """Tell ``watch`` which share of what is done in this block is done; once for each of its parts."""
    global _watch
    before, _watch = _watch, watch
    try:
        yield
    finally:
        _watch = before


@contextmanager
def passes(total: int) -> Iterator[Callable[[int], None]]:
    """Work of so many parts: what this gives is told of how many more are done. What is inside of it tells nothing."""
    global _watch
    watch, _watch, done = _watch, None, 0

    def more(count: int) -> None:
        nonlocal done
        done += count
        if watch is not None and total:
            watch(done / total)

    try:
        yield more
    finally:
        _watch = watch

"""Ctrl-C: the first is a question that a search asks after each step, the second stops at once."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

INTERRUPTED = 130
"""Exit code."""


@contextmanager
def finishing() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a question that the engine asks after each step; the second stops at once."""
    asked = False

    def ask(*_: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        print("\nhardprompt: finishing this step (Ctrl-C again stops at once)", file=sys.stderr)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)

"""Ctrl-C on the command line: heard at once, but for somebody's own code, whose call is finished."""

import sys
from contextlib import AbstractContextManager

from hardprompt.cli.streams import say
from hardprompt.search.stopping import stoppable

INTERRUPTED = 130
"""Exit code."""


def interruptible() -> AbstractContextManager[None]:
    """While the block runs the first Ctrl-C raises KeyboardInterrupt, once what must be whole is whole."""

    def waiting() -> None:
        sys.stderr.write("\n")  # behind the ^C of a terminal
        say("finishing this call (Ctrl-C again stops at once)")

    return stoppable(waiting)

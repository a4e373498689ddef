"""Results on standard output: as tables, or as one JSON object."""

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape

from hardprompt.optimizers import Method
from hardprompt.runs.result import behind
from hardprompt.tasks.recipe import show
from hardprompt.tasks.tables import table


class _Pipeable(Console):
    """A console whose reader may go, as ``head`` does: rich would end the program as if something had failed."""

    def on_broken_pipe(self) -> None:
        """Leave it to the command line, to which it is no fault."""
        raise BrokenPipeError


def standard_output() -> Console:
    """Standard output; a pipe gets whole lines, not lines folded at a guessed width."""
    return _Pipeable() if sys.stdout.isatty() else _Pipeable(width=160)


def print_parts(result: Mapping[str, Any], parts: Iterable[RenderableType], *, as_json: bool) -> None:
    """A result as one JSON object, or these parts of it; a part that is a string is printed as it is."""
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
        return
    screen = standard_output()
    for part in parts:
        screen.print(escape(part) if isinstance(part, str) else part, highlight=False)


def print_result(result: Mapping[str, Any], *, as_json: bool) -> None:
    """The result of a run."""
    print_parts(result, [] if as_json else [*show(result), *filter(None, [behind(result)])], as_json=as_json)


def print_methods(found: Mapping[str, Method]) -> None:
    """The registered methods."""
    listing = table("Search methods", ("method", "what it is", "source of its settings"), ())
    for name, method in found.items():
        listing.add_row(name, method.summary, method.source)
    standard_output().print(listing)

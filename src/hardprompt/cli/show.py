"""Results on standard output: as tables, or as one JSON object."""

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.errors import NotRenderableError
from rich.segment import Segment

from hardprompt.cli.streams import print_json
from hardprompt.errors import visible
from hardprompt.optimizers import Method
from hardprompt.runs.result import behind
from hardprompt.tasks.recipe import show
from hardprompt.tasks.tables import table


class _Plain(Console):
    """A console that shows text as it is, and whose reader may go, as ``head`` does."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As a console of rich, with what is in the text alone, not in its style, made visible."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """Leave it to the command line, to which it is no fault; rich would end the program as if it were one."""
        raise BrokenPipeError


def standard_output() -> Console:
    """Standard output; a pipe gets whole lines, not lines folded at a guessed width."""
    width = None if sys.stdout.isatty() else 160
    return _Plain(markup=False, emoji=False, width=width)


def print_parts(result: Mapping[str, Any], parts: Iterable[RenderableType], *, as_json: bool) -> None:
    """A result as one JSON object, or these parts of it; a part that is a string is printed as it is."""
    if as_json:
        print_json(result)
        return
    screen = standard_output()
    with _cells():
        for part in parts:
            screen.print(part, highlight=False)


def print_result(result: Mapping[str, Any], *, as_json: bool) -> None:
    """The result of a run."""
    with _cells():
        parts = [] if as_json else [*show(result), *filter(None, [behind(result)])]
    print_parts(result, parts, as_json=as_json)


@contextlib.contextmanager
def _cells() -> Iterator[None]:
    """Raise a TypeError for a cell that is no text, of a file that was edited."""
    try:
        yield
    except NotRenderableError as error:
        raise TypeError(str(error)) from error


def print_methods(found: Mapping[str, Method]) -> None:
    """The registered methods."""
    listing = table("Search methods", ("method", "what it is", "source of its settings"), ())
    for name, method in found.items():
        listing.add_row(name, method.summary, method.source)
    standard_output().print(listing)

"""What a person sees: the live line of a run and the tables of its results."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from hardprompt import tasks as commands
from hardprompt.errors import InputError
from hardprompt.optimizers import Method
from hardprompt.search.engine import Step

_PLAIN_SECONDS = 10.0  # between two lines when standard error is not a terminal


class _Pipeable(Console):
    """A console whose reader may go, as ``head`` does: rich would end the program as if something had failed."""

    def on_broken_pipe(self) -> None:
        """Leave it to the command line, to which it is no fault."""
        raise BrokenPipeError


class LiveLine:
    """Shows every step on standard error: one moving line on a terminal, plain lines elsewhere."""

    def __init__(self, label: str) -> None:
        self._console = Console(stderr=True)
        self._label = label
        self._first: tuple[float, float] | None = None
        self._last = -_PLAIN_SECONDS
        self._bar = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=16),
            TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn(), TimeRemainingColumn(),
            console=self._console, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task(escape(label), total=1.0)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keep the line on the screen while the block runs."""
        with self._bar:
            yield

    def note(self, message: str) -> None:
        """A line of its own: what is being waited for."""
        self._console.print(f"{self._label}: {message}", highlight=False, markup=False, soft_wrap=True)

    def __call__(self, step: Step) -> None:
        """Show one step."""
        now = time.monotonic()
        if self._first is None:
            self._first = (now, step.fraction)
        line = self._describe(step)
        if self._console.is_terminal:
            self._bar.update(self._task, completed=step.fraction, description=escape(line))
        elif now - self._last >= _PLAIN_SECONDS or step.fraction >= 1.0:
            self._last = now
            left = self._left(now, step)
            self.note(f"{line}, {left}" if left else line)

    def _left(self, now: float, step: Step) -> str:
        if self._first is None or step.fraction <= self._first[1]:
            return ""
        seconds = (now - self._first[0]) / (step.fraction - self._first[1]) * (1.0 - step.fraction)
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d} left"

    def _describe(self, step: Step) -> str:
        parts = [f"step {step.number}", f"best reward {step.best_reward:.4g}"]
        if step.best is not None:
            parts.append(f"validation {step.best.score:.3f}")
        if "support_size" in step.log:
            parts.append(f"support {step.log['support_size']:.0f}")
        parts += [f"{step.evaluations} evaluations", f"{step.log.get('cache_hits', 0):.0f} cache hits"]
        if step.seconds > 0:
            parts.append(f"{step.evaluations / step.seconds:.1f}/s")
        return ", ".join(parts)


class CountLine:
    """Shows how many of many searches are done, on standard error: one moving line on a terminal, else a line each."""

    def __init__(self, label: str, things: str, *, done: int, total: int) -> None:
        self._console = Console(stderr=True)
        self._label, self._things, self._done, self._total, self._failed = label, things, done, total, 0
        self._began, self._before = time.monotonic(), done
        self._bar = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=16), TimeElapsedColumn(),
            TimeRemainingColumn(), console=self._console, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task(escape(self._line()), total=total, completed=done)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keep the line on the screen while the block runs."""
        if not self._console.is_terminal:
            self._console.print(self._line(), highlight=False, markup=False, soft_wrap=True)
        with self._bar:
            yield

    def __call__(self, name: str, error: str | None) -> None:
        """One more is done, or has failed."""
        self._done += error is None
        self._failed += error is not None
        if error is not None:
            self._console.print(f"{name} failed: {error}", highlight=False, markup=False, soft_wrap=True)
        if self._console.is_terminal:
            self._bar.update(self._task, advance=1, description=escape(self._line()))
        else:
            self._console.print(f"{self._line()}: {name}", highlight=False, markup=False, soft_wrap=True)

    def _line(self) -> str:
        seconds = time.monotonic() - self._began
        ended = self._done + self._failed - self._before
        left = self._total - self._done - self._failed
        pace = ""
        if ended:
            to_go = int(seconds / ended * left)
            clock = f"{to_go // 3600}:{to_go // 60 % 60:02d}:{to_go % 60:02d}"
            pace = f", {ended / seconds * 60:.1f} a minute, {clock} left"
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{self._label}: {self._done} of {self._total} {self._things}{failed}{pace}"


def table(title: str, words: Sequence[str], figures: Sequence[str], *, fold: bool = True) -> Table:
    """An empty table: columns of words to the left, then columns of figures to the right."""
    made = Table(title=escape(title), title_justify="left")
    for name in words:
        made.add_column(name, overflow="fold" if fold else "ellipsis")
    for name in figures:
        made.add_column(name, justify="right", overflow="fold" if fold else "ellipsis")
    return made


def print_result(result: Mapping[str, Any], *, as_json: bool = False) -> None:
    """The result of a run on standard output, as tables or as one JSON object."""
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
        return
    screen = standard_output()
    if result["task"] == "compare":
        from hardprompt.compare.tables import show

        for part in show(result["summary"]):
            screen.print(escape(part) if isinstance(part, str) else part, highlight=False)
        return
    command = commands.find("classify" if result["task"] == "demo" else result["task"])
    for part in (*command.show(result), *filter(None, [behind(result, command.headline)])):
        screen.print(escape(part) if isinstance(part, str) else part, highlight=False)


def behind(result: Mapping[str, Any], headline: Callable[[Mapping[str, Any]], float]) -> str | None:
    """A plain word where something that was not searched for scores higher than the found prompt."""
    rows = [row for row in result.get("baselines", []) if headline(row["test"]) > headline(result["test"])]
    if not rows:
        return None
    best = max(rows, key=lambda row: headline(row["test"]))
    behind_by = f"{headline(result['test']):.3f} against {headline(best['test']):.3f}"
    mend = " More evaluations or more training texts may mend that." if result["evaluations"] > 1 else ""
    return f"The found prompt is behind {best['name']!r}: {behind_by}.{mend}"


def print_methods(found: Mapping[str, Method]) -> None:
    """The registered methods on standard output."""
    table = Table(title="Search methods", title_justify="left")
    for name in ("method", "what it is", "source of its settings"):
        table.add_column(name, overflow="fold")
    for name, method in found.items():
        table.add_row(name, method.summary, method.source)
    standard_output().print(table)


def standard_output() -> Console:
    """Standard output; a pipe gets whole lines, not lines folded at a guessed width."""
    return _Pipeable() if sys.stdout.isatty() else _Pipeable(width=160)


def number(value: float | None) -> str:
    """A short form of a number, or a dash for none."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spent(row: Mapping[str, Any]) -> str:
    """Evaluations of a row of a table, and how many of them were passes for gradients."""
    passes = row.get("gradient_passes", 0)
    return f"{row['evaluations']} ({passes} passes)" if passes else str(row["evaluations"])


def read_result(folder: Path) -> dict[str, Any] | None:
    """``result.json`` of a run folder, or None when the run has not finished.

    Raises:
        InputError: the folder holds no run, or its result cannot be read.
    """
    if not folder.exists():
        raise InputError(f"{str(folder)!r} does not exist.")
    if folder.is_file():
        raise InputError(f"{str(folder)!r} is a file; name the run folder: {str(folder.parent)!r}.")
    if not any((folder / name).is_file() for name in ("run.yaml", "demo.json", "compare.yaml", "result.json")):
        raise InputError(f"{str(folder)!r} holds no run: it has no run.yaml.")
    path = folder / "result.json"
    if not path.is_file():
        return None
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{str(path)!r} cannot be read: {error}.") from error
    return result


def last_step(folder: Path) -> dict[str, Any] | None:
    """The last line of ``steps.jsonl`` that is whole, if any."""
    path = folder / "steps.jsonl"
    found: dict[str, Any] | None = None
    for line in path.read_text(encoding="utf-8").split("\n") if path.is_file() else []:
        try:
            found = json.loads(line)
        except json.JSONDecodeError:  # the empty end, or the line that was being written when the run was killed
            break
    return found

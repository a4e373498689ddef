"""The live lines on standard error: how a search goes, and how many of many searches are done."""

import time

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from hardprompt.search.engine import Step

_PLAIN_SECONDS = 10.0  # between two lines when standard error is not a terminal


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

    def shown(self) -> Progress:
        """Keeps the line on the screen while a block runs."""
        return self._bar

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

    def shown(self) -> Progress:
        """Keeps the line on the screen while a block runs."""
        if not self._console.is_terminal:
            self._console.print(self._line(), highlight=False, markup=False, soft_wrap=True)
        return self._bar

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

"""The live lines on standard error: how a search goes, how many of many are done; they are never silent for long."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from hardprompt.errors import visible
from hardprompt.search.engine import Step
from hardprompt.search.forecast import Forecast, Shrinking, clock

_PLAIN_SECONDS = 10.0  # between two lines when standard error is not a terminal,
_BEAT = 0.5  # and between two looks at the clock


class LiveLine:
    """Shows on standard error how a search goes: one moving line on a terminal, plain lines elsewhere.

    Args:
        label: what the lines begin with.
        forecast: knows what is being done, and how much is left.
    """

    def __init__(self, label: str, forecast: Forecast) -> None:
        self._label, self._forecast = label, forecast
        self._line, self._waiting = "", ""  # of the latest step; what is being waited for
        self._began = time.monotonic()
        self._out = _Line(label)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keeps the line on the screen while a block runs."""
        with self._out.shown(), _beating(self._beat):
            yield

    def note(self, message: str) -> None:
        """A line of its own: what is being waited for."""
        self._waiting = message
        self._out.print(f"{self._label}: {message}")

    def __call__(self, step: Step) -> None:
        """Show one step."""
        self._line, self._waiting = self._describe(step), ""
        self._beat(last=step.fraction >= 1.0)

    def _beat(self, *, last: bool = False) -> None:
        left = self._forecast.left()
        parts = [self._line, self._forecast.doing or self._waiting, f"{clock(left)} left" if left is not None else ""]
        line = ", ".join(part for part in parts if part)
        gone = time.monotonic() - self._began
        self._out.update(line, None if left is None else gone / (gone + left), now=last)

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
    """Shows on standard error how many of many searches are done: one moving line on a terminal, else plain lines."""

    def __init__(self, label: str, things: str, *, done: int, total: int) -> None:
        self._label, self._things, self._done, self._total, self._failed = label, things, done, total, 0
        self._began, self._before, self._shrinking = time.monotonic(), done, Shrinking()
        self._latest = 0.0  # when one ended, since then
        self._out = _Line(label)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keeps the line on the screen while a block runs."""
        self._beat(now=True)
        with self._out.shown(), _beating(self._beat):
            yield

    def __call__(self, name: str, error: str | None) -> None:
        """One more is done, or has failed."""
        self._done += error is None
        self._failed += error is not None
        self._latest = time.monotonic() - self._began
        if error is not None:
            self._out.print(f"{name} failed: {error}")
        self._beat(name, now=True)

    def _beat(self, name: str = "", *, now: bool = False) -> None:
        self._out.update(
            self._text() + (f": {name}" if name else ""), (self._done + self._failed) / self._total, now=now
        )

    def _text(self) -> str:
        seconds = time.monotonic() - self._began
        ended = self._done + self._failed - self._before
        left = self._total - self._done - self._failed
        pace = f", {clock(seconds)} gone"
        if ended:
            to_go = self._shrinking(max(0.0, self._latest / ended * left - (seconds - self._latest)), seconds)
            pace = f", {ended / seconds * 60:.1f} a minute, {clock(to_go)} left"
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{self._done} of {self._total} {self._things}{failed}{pace}"


class _Line:
    """A moving line on a terminal, and elsewhere a plain one now and then."""

    def __init__(self, label: str) -> None:
        self._console = Console(stderr=True, emoji=False)
        self._label = label
        self._last = time.monotonic()
        self._bar = Progress(
            SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=16),
            TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn(),
            console=self._console, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task(visible(label), total=1.0)

    def shown(self) -> Progress:
        """Keeps it on the screen while a block runs."""
        return self._bar

    def print(self, text: str) -> None:
        """A line of its own."""
        self._last = time.monotonic()
        self._console.print(visible(text), highlight=False, markup=False, soft_wrap=True)

    def update(self, text: str, share: float | None, *, now: bool) -> None:
        """Show the text, and how much is done; where lines are plain, if one is due or it is to be shown ``now``."""
        text = f"{self._label}: {text}"
        if self._console.is_terminal:
            self._bar.update(self._task, description=visible(text), completed=share)  # None leaves it as it is
        elif now or time.monotonic() - self._last >= _PLAIN_SECONDS:
            self.print(text)


@contextmanager
def _beating(beat: Callable[[], None]) -> Iterator[None]:
    """Call ``beat`` now and then while a block runs, from a thread of its own."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(_BEAT):
            beat()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()

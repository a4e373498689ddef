"""How long a run takes: estimated from a few timed passes, then measured; what is left only shrinks."""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass

from hardprompt.errors import HardpromptError
from hardprompt.search.engine import Step
from hardprompt.search.rewards import ItemReward
from hardprompt.search.work import TEST, TRAIN, VALIDATION

SEARCH = "search"
_WORDS = ("the", "and", "that", "with", "this", "from", "have", "more")  # what timed prompts are made of
_TIMED = 4  # prompts of a timed pass,
_TEXTS = {1: 4.0, 2: 0.5, 8: 0.0}  # of a pass; of the next, too, unless it took so many seconds: the first is slow
_STEP = 16  # prompts of a step, until one was seen
_VALIDATED = 8, 4  # new prompts of the first validation and of a later one, likewise
_FEW = 32  # scores by which a model is timed that is not timed before the search
_SURE = 0.1  # share of a part from which its own pace is trusted
_OVERDUE = 0.2  # what takes longer than was thought is taken to go on for this share of its time
_SAID = 0.05  # of the unit, below which a part is not named
_AFTER = 10.0  # seconds for what comes behind the test: a model that judges, perplexities, files
LONG = 3600.0  # seconds from which a run is long enough to say what to lower


@dataclass(frozen=True)
class Stages:
    """What a run of a task consists of."""

    sample: ItemReward  # as a search asks for it, on the training texts
    _: KW_ONLY
    fresh: ItemReward | None = None  # as a text costs that nothing is known of; None is as ``sample``
    validation: int = 0  # texts
    test: int = 0
    tested: int = 1  # prompts on the test texts
    lower: Sequence[str] = ()  # flags that make a run shorter, beside --evaluations
    free: bool = True  # a pass may be timed; else it costs somebody's money, or is a call of a user's code


@dataclass(frozen=True)
class Expected:
    """Seconds of each part of a run, and how much is in them."""

    seconds: Mapping[str, float]
    validations: float
    search: int  # pairs of prompt and text,
    test: int  # likewise

    def said(self) -> str:
        """In one line, with what comes behind the test."""
        whole = {**self.seconds, "end": _AFTER}
        total = sum(whole.values())
        size, unit = next(
            (size, unit) for size, unit in ((3600, "h"), (60, "min"), (1, "s")) if total >= 1.5 * size or size == 1
        )
        parts = (f"{part} {_short(value / size)}" for part, value in whole.items() if value >= _SAID * size)
        return f"about {_short(total / size)} {unit}: {', '.join(parts)}"


def expect(
    stages: Stages,
    *,
    evaluations: int,
    validate_every: int,
    length: int,
    used: float = 0.0,
    seconds: float | None = None,
) -> Expected | None:
    """Time a few passes over training texts; None where they fail, since the search then says why.

    Nothing of it enters a cache, a count or what is drawn. Where passes are not free nothing is asked before the search
    does: ``seconds`` is what a pair took there.

    Args:
        stages: of the task.
        evaluations: of the search.
        validate_every: its steps between validations.
        length: words of a prompt.
        used: share of the search that is done.
        seconds: of a pair, where that is known.
    """
    prompts = [" " + " ".join(_WORDS[(i + k) % len(_WORDS)] for k in range(length)) for i in range(_TIMED)]
    try:
        pair = _timed(stages.sample, prompts) / _TIMED if seconds is None else seconds
        text = (
            pair * stages.tested
            if stages.fresh is None or seconds is not None
            else _timed(stages.fresh, prompts[: stages.tested])
        )
    except HardpromptError:
        return None
    later = (1 - used) * evaluations / (_STEP * validate_every)
    first, more = _VALIDATED
    chosen = stages.validation * (text + pair * (first + more * later))  # a text is read once, and then known
    items = stages.sample.items
    return Expected(
        {SEARCH: (1 - used) * evaluations * items * pair, VALIDATION: chosen, TEST: stages.test * text},
        later + 1, evaluations * items, stages.test * stages.tested,
    )  # fmt: skip


def _timed(reward: ItemReward, prompts: Sequence[str]) -> float:
    """Seconds that a text takes with these prompts."""
    for count, enough in _TEXTS.items():
        items = sorted({i * reward.items // count for i in range(count)})
        began = time.perf_counter()
        reward.score(prompts, items)
        seconds = time.perf_counter() - began
        if seconds > enough:
            break
    return seconds / len(items)


class Shrinking:
    """Seconds left, as they are said: never more than before, and nothing only when nothing is left.

    Where less is left than was said it is said at once. Where more is left, what is said falls more slowly than the
    clock, so that both end together.
    """

    def __init__(self) -> None:
        self._said: tuple[float, float] | None = None

    def __call__(self, left: float, now: float) -> float:
        """What is said of ``left`` at a time."""
        if self._said is not None and left > self._said[0]:
            said, when = self._said
            left = min(said, said * left / (left + (now - when)))
        self._said = left, now
        return left


class Forecast:
    """How much of a run is left, by what its parts took until now.

    Args:
        clock: in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._said, self._lock = clock, Shrinking(), threading.Lock()
        self._expected: Expected | None = None
        self._last = clock()
        self._began = dict.fromkeys((SEARCH, VALIDATION, TEST), 0.0)  # share that an earlier process did
        self._share, self._spent = dict(self._began), dict(self._began)  # share that is done; seconds
        self._base = {TRAIN: 0.0, TEST: 0.0}  # share at the last step; pairs of the test that are done
        # what an earlier process had scored, in no time here, and the whole: pairs, or validations
        self._known, self._whole = dict.fromkeys(self._began, 0.0), dict.fromkeys(self._began, 0.0)
        self._seen = 0  # pairs of it, among the latest scores
        self._validations, self._planned = 0, 1.0
        self._later: Callable[[float], None] | None = None
        self._asked = 0.0  # when the latest scores were begun
        self.doing = ""  # what is being done, in a few words

    def begin(self, expected: Expected | None, *, used: float = 0.0) -> None:
        """The run begins, or goes on where ``used`` of its search is done."""
        with self._lock:
            self._expected, self._last = expected, self._clock()
            self._began[SEARCH] = self._share[SEARCH] = self._base[TRAIN] = used
            self._planned = expected.validations if expected is not None else 1.0

    def wait(self, make: Callable[[float], Expected | None], say: Callable[[Expected], None]) -> None:
        """Where nothing may be timed: what is expected is made once some scores are, of a pair's seconds, and said."""

        def known(pair: float) -> None:
            expected = make(pair)
            if expected is not None:
                self._expected, self._planned = expected, expected.validations
                say(expected)

        self._later = known

    def __call__(self, step: Step) -> None:
        """A step is done."""
        with self._lock:
            self._reach(SEARCH, step.fraction)
            self._base[TRAIN] = step.fraction
            if self._validations and step.fraction > (used := self._began[SEARCH]):
                self._planned = self._validations * (1 - used) / (step.fraction - used) + 1
            self.doing = ""

    def scored(self, part: str, done: int, total: int, known: int = 0) -> None:
        """So many pairs of prompt and item are scored of those that a part asks for now, ``known`` of them before."""
        if part == TRAIN and self._later is not None:
            now, made = self._clock(), done - known
            if done == 0:
                self._asked = now
            elif made >= min(_FEW, total - known) > 0:
                later, self._later = self._later, None
                later((now - self._asked) / made)
        with self._lock:
            new, self._seen = known - (self._seen if done else 0), known
            if part == TRAIN and not self._share[TEST]:
                whole = self._whole[SEARCH] = self._expected.search if self._expected is not None else 0
                self._known[SEARCH] += new
                self._reach(SEARCH, min(1.0, self._base[TRAIN] + done / whole) if whole else self._base[TRAIN])
            elif part == VALIDATION:
                validations = self._whole[VALIDATION] = max(self._planned, self._validations + 1)
                self._known[VALIDATION] += new / max(1, total)
                self._share[VALIDATION] = 0.0  # how many there will be is only now better known
                self._reach(VALIDATION, (self._validations + done / max(1, total)) / validations)
                self._validations += done == total
            else:
                self._share[SEARCH] = self._share[VALIDATION] = 1.0
                whole = self._whole[TEST] = self._expected.test if self._expected is not None else 0
                self._known[TEST] += new if part == TEST else 0
                self._reach(TEST, min(1.0, (self._base[TEST] + done) / whole) if whole and part == TEST else 0.0)
                self._base[TEST] += done if done == total and part == TEST else 0
            self.doing = f"{_DOING.get(part, _DOING[TEST])}, {done} of {total} scores" if done < total else ""

    def left(self) -> float | None:
        """Seconds that are left, or None where nothing is known; never more than was said before."""
        with self._lock:
            now = self._clock()
            parts = [self._of(part) for part in self._share]
            if None in parts:
                return None
            since = now - self._last
            raw = sum(seconds for seconds in parts if seconds is not None) + _AFTER - since
            return self._said(max(raw, _OVERDUE * since, 1.0), now)

    def _reach(self, part: str, share: float) -> None:
        now = self._clock()
        self._spent[part] += now - self._last
        self._last, self._share[part] = now, max(share, self._share[part])

    def _of(self, part: str) -> float | None:
        """Seconds that a part still takes."""
        made, left = self._made(part), 1.0 - self._share[part]
        if left <= 0:
            return 0.0
        first = self._first(part)
        if made <= 0:
            if first is None:
                return None if part == SEARCH else 0.0
            return first * left * self._slower()
        pace = self._spent[part] / made
        return left * (pace if first is None or made >= _SURE else max(pace, first))

    def _made(self, part: str) -> float:
        """Share that took the time that was spent."""
        found = self._known[part] / self._whole[part] if self._whole[part] else 0.0
        return self._share[part] - self._began[part] - found

    def _first(self, part: str) -> float | None:
        """Seconds of a whole part as they were expected."""
        return None if self._expected is None else self._expected.seconds[part] / max(1e-9, 1.0 - self._began[part])

    def _slower(self) -> float:
        """How many times longer than expected that took of which enough is done."""
        sure = [part for part in self._share if self._made(part) >= _SURE]
        expected = sum((self._first(part) or 0.0) * self._made(part) for part in sure)
        return max(1.0, sum(self._spent[part] for part in sure) / expected) if expected else 1.0


_DOING = {TRAIN: "scoring", VALIDATION: "validating", TEST: "testing"}


def clock(seconds: float) -> str:
    """As hours, minutes and seconds, rounded up: nothing is left only where that is so."""
    whole = math.ceil(seconds)
    hours = f"{whole // 3600}:" if whole >= 3600 else ""
    return f"{hours}{whole // 60 % 60:02d}:{whole % 60:02d}" if hours else f"{whole // 60}:{whole % 60:02d}"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 2 else f"{value:.1f}"

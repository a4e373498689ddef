"""Time left: it only shrinks, covers every part of a run, and is estimated without leaving a trace."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hardprompt.data.tables import Row
from hardprompt.errors import RewardError
from hardprompt.lms.causal import CausalLM
from hardprompt.search.engine import Step
from hardprompt.search.forecast import Expected, Forecast, Shrinking, Stages, clock, expect
from hardprompt.search.rewards import Cached
from hardprompt.search.work import Work
from hardprompt.tasks.classify.reward import Classification
from hardprompt.tasks.classify.task import ClassifyTask
from hardprompt.tasks.template import Template
from tests.conftest import Tiny

BEHIND = 10.0  # seconds that are reckoned for what comes behind the test


class Clock:
    """Seconds that pass when it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow:
    """A reward of some texts that takes a second for a pair and two for a text, on a clock."""

    def __init__(self, clock: Clock, *, items: int = 50, pair: float = 1.0, text: float = 0.0) -> None:
        self.items, self._clock, self._pair, self._text = items, clock, pair, text
        self.pairs = 0

    def __call__(self, prompts: list[str]) -> Tensor:
        return self.aggregate(self.score(prompts))

    def score(self, prompts: Sequence[str], items: Sequence[int] | None = None) -> Tensor:
        at = range(self.items) if items is None else items
        self.pairs += len(prompts) * len(at)
        self._clock.now += len(at) * (len(prompts) * self._pair + self._text)
        return torch.ones(len(prompts), len(at)).double()

    def aggregate(self, scores: Tensor, _: Sequence[int] | None = None) -> Tensor:
        return scores.mean(-1)


def step(number: int, fraction: float) -> Step:
    return Step(number, ["p"], [0.0], number, 0.0, fraction, {}, 0.0, None)


@given(st.lists(st.tuples(st.floats(0.0, 1e6), st.floats(0.0, 100.0)), min_size=2))
def test_what_is_said_never_rises_and_ends_only_with_the_work(events: list[tuple[float, float]]) -> None:
    said, now, before = Shrinking(), 0.0, None
    for left, passed in events:
        now += passed
        value = said(left, now)
        assert 0 <= value <= left
        assert before is None or value <= before
        assert value > 0 or left == 0 or before == 0 or value < 1e-3 * left
        before = value


def test_work_that_proves_slower_lets_it_fall_slowly_and_end_with_the_work() -> None:
    said = Shrinking()
    assert said(10.0, 0.0) == 10.0
    seen = [said(100.0 - t, float(t)) for t in range(1, 100)]  # ten times as much as was thought
    assert seen == sorted(seen, reverse=True)
    assert seen[49] == pytest.approx(5.0, rel=0.02)  # half of it when half is done
    assert seen[-1] == pytest.approx(0.1, rel=0.02)


def run(
    clock: Clock, told: Forecast, *, steps: int, search: float, validation: float, test: float
) -> Iterator[tuple[float, float]]:
    """A run of such seconds a step, a validation (every second step) and a test; what was said, and was left."""
    validations = steps // 2
    total = steps * search + validations * validation + test
    began = clock.now

    def group(part: str, seconds: float) -> Iterator[tuple[float, float]]:
        for done in range(11):
            clock.now += seconds / 10 if done else 0.0
            told.scored(part, done, 10)
            left = told.left()
            if left is not None:
                yield left, total - (clock.now - began)

    for number in range(1, steps + 1):
        yield from group("train", search)
        if number % 2 == 0:
            yield from group("validation", validation)
        told(step(number, number / steps))
    yield from group("test", test)


@pytest.mark.parametrize("factor", [0.2, 1.0, 3.0])
def test_it_covers_search_validation_and_test_and_only_shrinks(factor: float) -> None:
    clock = Clock()
    told = Forecast(clock)
    # what is expected is wrong by a factor
    seconds = {"search": 200.0 * factor, "validation": 300.0 * factor, "test": 400.0 * factor}
    told.begin(Expected(seconds, validations=5.0, search=100, test=10))
    seen = list(run(clock, told, steps=10, search=20.0, validation=60.0, test=400.0))
    said = [value for value, _ in seen]
    assert all(b <= a for a, b in itertools.pairwise(said))
    assert said[0] == pytest.approx(900.0 * factor + BEHIND, rel=0.01)
    testing = [pair for pair in seen if pair[1] <= 400.0]
    assert testing[0][0] > 0.15 * testing[0][1]  # what is left of the little that was thought
    if factor == 1.0:
        assert all(value == pytest.approx(left, rel=0.25, abs=10) for value, left in seen)


def test_nothing_is_said_while_nothing_is_known_and_a_search_without_parts_is_measured() -> None:
    clock = Clock()
    told = Forecast(clock)
    assert told.left() is None
    told.begin(None)
    assert told.left() is None
    for number in (1, 2):
        clock.now += 10
        told(step(number, number / 10))
    assert told.left() == pytest.approx(80.0 + BEHIND, abs=1)


def test_a_run_that_goes_on_is_measured_by_what_is_left() -> None:
    clock = Clock()
    told = Forecast(clock)
    told.begin(None, used=0.5)
    clock.now += 10
    told(step(6, 0.6))
    assert told.left() == pytest.approx(40.0 + BEHIND, abs=1)


def test_the_estimate_is_what_the_parts_take(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("time.perf_counter", clock)
    sample, fresh = Slow(clock, pair=0.01), Slow(clock, pair=0.01, text=0.2)
    stages = Stages(sample, fresh=fresh, validation=100, test=300, tested=3, lower=("--rows",))
    found = expect(stages, evaluations=960, validate_every=6, length=5)
    assert found is not None
    assert found.seconds["search"] == pytest.approx(960 * 50 * 0.01)
    assert found.seconds["test"] == pytest.approx(300 * (0.2 + 3 * 0.01))
    assert found.seconds["validation"] > 100 * 0.2
    assert found.said().startswith("about ")
    half = expect(stages, evaluations=960, validate_every=6, length=5, used=0.5)
    assert half is not None
    assert half.seconds["search"] == pytest.approx(found.seconds["search"] / 2)


@pytest.mark.parametrize("lead", ["", "Is this of one kind or of the other? "])
def test_a_test_is_timed_on_texts_that_nothing_is_held_of_whatever_they_are(tiny_causal: Tiny, lead: str) -> None:
    # three of them read the same with their words backwards
    texts = ("这部电影很好看", "film", "good good", "The film was good")
    rows = [Row(text, str(i % 2)) for i, text in enumerate(texts)]
    task = ClassifyTask(
        lm=CausalLM(*tiny_causal), train=rows, validation=rows, test=rows,
        template=Template(lead + "{text}\n{prompt}"), verbalizers={"0": " bad", "1": " good"},
    )  # fmt: skip
    sample, fresh = task.stages.sample, task.stages.fresh
    assert isinstance(sample, Classification)
    assert isinstance(fresh, Classification)
    read = tiny_causal.tokenizer
    for i, text in enumerate(texts):
        whole, before = read(f"{lead}{text}\n the")["input_ids"], read(lead)["input_ids"]
        common = next(k for k, (one, other) in enumerate(zip(whole, [*before, -1], strict=False)) if one != other)
        ran = [reward.lm.tokens_run for reward in (sample, fresh)]
        torch.testing.assert_close(sample.score([" the"], [i]), fresh.score([" the"], [i]), atol=1e-5, rtol=0)
        assert sample.lm.tokens_run - ran[0] == 1  # the text is held
        assert fresh.lm.tokens_run - ran[1] == len(whole) - common


def test_a_slow_reward_is_timed_once() -> None:
    slow = Slow(Clock(), pair=1.0)
    assert expect(Stages(slow), evaluations=10, validate_every=1, length=2) is not None
    assert slow.pairs == 4 * (1 + 2 + 8)  # the clock that it is timed by stands still: that is quick


def test_timing_enters_no_memory_and_a_reward_that_fails_is_left_to_the_search() -> None:
    behind = Slow(Clock())
    reward = Cached(behind)
    before = reward.state_dict()
    assert expect(Stages(behind), evaluations=10, validate_every=1, length=2) is not None
    assert reward.state_dict() == before
    assert (reward.hits, reward.scored, len(reward)) == (0, 0, 0)

    class Fails(Slow):
        def score(self, prompts: Sequence[str], items: Sequence[int] | None = None) -> Tensor:
            raise RewardError("no")

    assert expect(Stages(Fails(Clock())), evaluations=10, validate_every=1, length=2) is None


def test_a_model_that_may_not_be_timed_is_estimated_by_its_first_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    slow = Slow(clock)
    stages = Stages(slow, fresh=slow, validation=20, test=30, tested=3, free=False)
    told, said = Forecast(clock), list[Expected]()
    told.begin(None)
    told.wait(lambda pair: expect(stages, evaluations=64, validate_every=2, length=3, seconds=pair), said.append)
    clock.now += 7.0  # proposing
    told.scored("train", 0, 16 * 50)
    clock.now += 16.0
    told.scored("train", 8, 16 * 50)
    assert (told.left(), said) == (None, [])
    clock.now += 48.0
    told.scored("train", 32, 16 * 50)  # two seconds each
    assert slow.pairs == 0
    (found,) = said
    assert found.seconds["search"] == pytest.approx(64 * 50 * 2.0)
    assert found.seconds["test"] == pytest.approx(30 * 3 * 2.0)
    left = told.left()
    assert left == pytest.approx(sum(found.seconds.values()), rel=0.1)  # what proposing took is in it
    told.scored("train", 800, 800)
    told.scored("train", 0, 800)
    assert len(said) == 1


def resumed(clock: Clock, folder: Path, part: str, *, before: int) -> tuple[Work, Callable[[], Any]]:
    """Scores of a prompt on ten groups of ten texts, five seconds each, of which a process before made some."""
    groups = [list(range(i, i + 10)) for i in range(0, 100, 10)]

    def make(items: list[int]) -> Tensor:
        clock.now += 5.0 * len(items)
        return torch.zeros(1, len(items)).double()

    stopped, work = Work(), Work()
    stopped.keep_in(folder)
    stopped.each(part, ["p"], groups[:before], make)
    stopped.save()
    work.keep_in(folder)
    return work, lambda: work.each(part, ["p"], groups, make)


@pytest.mark.parametrize("before", [0, 4, 9])
def test_what_an_earlier_process_scored_is_no_time_for_a_model_that_may_not_be_timed(
    tmp_path: Path, before: int
) -> None:
    clock = Clock()
    work, score = resumed(clock, tmp_path, "train", before=before)
    told, said = Forecast(clock), list[Expected]()
    stages = Stages(Slow(clock, items=100), test=10, free=False)
    told.begin(None)
    told.wait(lambda pair: expect(stages, evaluations=96, validate_every=10, length=5, seconds=pair), said.append)
    work.watch(told.scored)
    score()
    assert [found.seconds["search"] for found in said] == [pytest.approx(96 * 100 * 5.0)]
    assert told.left() == pytest.approx(95 * 100 * 5.0 + 10 * 5.0 + BEHIND)


def test_nothing_is_estimated_by_what_an_earlier_process_scored_alone() -> None:
    clock = Clock()
    told, said = Forecast(clock), list[float]()
    told.begin(None)
    told.wait(lambda pair: said.append(pair), print)
    for done, known in ((0, 0), (50, 50), (100, 100), (0, 0), (40, 40)):
        told.scored("train", done, 100, known)
    assert said == []
    clock.now += 6.0
    told.scored("train", 100, 100, 97)
    assert said == [2.0]


@pytest.mark.parametrize("part", ["train", "validation", "test"])
@pytest.mark.parametrize("before", [0, 3, 8])
def test_the_pace_of_a_part_is_that_of_what_this_process_scored(tmp_path: Path, part: str, before: int) -> None:
    clock = Clock()
    work, score = resumed(clock, tmp_path, part, before=before)
    told = Forecast(clock)
    # ten calls like this one are a search or a test, five are the validations; all else takes no time
    told.begin(Expected(dict.fromkeys(("search", "validation", "test"), 0.0), 5.0, search=1000, test=1000))
    work.watch(told.scored)
    for number in (1, 2):  # the second is all new, so that the pace is known of more than a tenth
        score()
        if part == "train":
            told(step(number, number / 10))
    whole = {"train": 10, "validation": 5, "test": 10}[part]
    assert told.left() == pytest.approx((whole - 2) * 100 * 5.0 + BEHIND)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (
            {"search": 240.0, "validation": 60.0, "test": 60.0},
            "about 6 min: search 4, validation 1.0, test 1.0, end 0.2",
        ),
        ({"search": 20.0, "validation": 0.0, "test": 5.0}, "about 35 s: search 20, test 5, end 10"),
        ({"search": 7200.0, "validation": 1800.0, "test": 3600.0}, "about 4 h: search 2, validation 0.5, test 1.0"),
    ],
)
def test_it_is_said_in_one_line(seconds: dict[str, float], said: str) -> None:
    assert Expected(seconds, validations=1.0, search=1, test=1).said() == said


def test_a_clock_is_read_as_one_expects() -> None:
    assert [clock(s) for s in (0, 0.4, 59, 61, 3600, 3725)] == ["0:00", "0:01", "0:59", "1:01", "1:00:00", "1:02:05"]

"""The loop: budgets, validation, ties, broken rewards, checkpoints and interruption, with scripted optimizers."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hardprompt.errors import InputError, RewardError
from hardprompt.search import engine
from hardprompt.search.engine import EVERYTHING, Progress, Proposal, Result, Step, Trial, best_trial, optimize
from hardprompt.search.files import StateStore
from hardprompt.search.rewards import Cached


class Scripted:
    """Proposes ``p0``, ``p1``, … ; recommends what ``recommends`` says, or the best prompt that it was told of."""

    def __init__(
        self, widths: Sequence[int] = (4,), recommends: Callable[["Scripted"], list[str]] | None = None
    ) -> None:
        self.widths, self.recommends = widths, recommends
        self.asked = 0
        self.steps = 0
        self.told: list[tuple[Proposal, Tensor]] = []
        self.best: tuple[float, str] = (-math.inf, "")

    def ask(self, room: int = EVERYTHING) -> Proposal:
        width = min(self.widths[min(self.steps, len(self.widths) - 1)], room)
        prompts = [f"p{self.asked + i}" for i in range(width)]
        self.asked += width
        self.steps += 1
        return Proposal(prompts, memo=object())

    def tell(self, proposal: Proposal, rewards: Tensor) -> dict[str, float]:
        self.told.append((proposal, rewards))
        self.best = max(self.best, max(zip(rewards.tolist(), proposal.prompts, strict=True)))
        return {"told": float(len(self.told))}

    def recommend(self) -> list[str]:
        return self.recommends(self) if self.recommends else [self.best[1]]

    def state_dict(self) -> dict[str, Any]:
        return {"asked": self.asked, "steps": self.steps, "best": list(self.best)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.asked, self.steps, self.best = state["asked"], state["steps"], tuple(state["best"])


def number(prompt: str) -> int:
    return int(prompt[1:])


def wave(prompts: list[str]) -> Tensor:
    """A reward without order: p0, p1, … earn 0, 7, 3, 10, 6, 2, 9, 5, 1, 8, 4 and so on."""
    return torch.tensor([float(7 * number(p) % 11) for p in prompts])


def upwards(prompts: list[str]) -> Tensor:
    return torch.tensor([float(number(p)) for p in prompts])


def downwards(prompts: list[str]) -> Tensor:
    return -upwards(prompts)


class Watched:
    """A reward that writes down what it was asked."""

    def __init__(self, reward: Callable[[list[str]], Any]) -> None:
        self.reward = reward
        self.calls: list[list[str]] = []

    def __call__(self, prompts: list[str]) -> Any:
        self.calls.append(list(prompts))
        return self.reward(prompts)

    @property
    def prompts(self) -> list[str]:
        return [p for call in self.calls for p in call]


@pytest.mark.parametrize(
    ("widths", "budget", "steps"),
    [
        ([4], 12, [4, 4, 4]),
        ([4], 11, [4, 4, 3]),  # the last step is as large as what is left,
        ([4], 1, [1]),  # and so is the first
        ([1], 3, [1, 1, 1]),
        ([2, 6, 1], 13, [2, 6, 1, 1, 1, 1, 1]),
        ([2, 36], 10, [2, 8]),
    ],
)
def test_the_budget_is_used_up_and_never_exceeded(widths: list[int], budget: int, steps: list[int]) -> None:
    optimizer, reward = Scripted(widths), Watched(wave)
    result = optimize(optimizer, reward, evaluations=budget, validate=upwards)
    assert result.evaluations == budget
    assert [len(call) for call in reward.calls] == steps
    assert reward.prompts == [f"p{i}" for i in range(budget)]
    assert result.stopped == "evaluations"


def test_an_optimizer_that_proposes_more_than_is_left_is_stopped_before_it_is_scored() -> None:
    class Greedy(Scripted):
        def ask(self, room: int = EVERYTHING) -> Proposal:
            return super().ask(room + 1)

    reward = Watched(wave)
    with pytest.raises(InputError, match="4 evaluations were asked for, and 3 are left"):
        optimize(Greedy([4]), reward, evaluations=3)
    assert reward.calls == []


def test_an_optimizer_that_cannot_be_told_what_is_left_is_named() -> None:
    class Old(Scripted):
        def ask(self) -> Proposal:  # type: ignore[override]
            return super().ask()

    with pytest.raises(InputError, match=r"Old\.ask\(\) takes no argument.*def ask\(self, room\)"):
        optimize(Old(), wave, evaluations=3)


def test_without_validation_a_recommendation_that_was_never_scored_is_an_evaluation_and_has_to_fit() -> None:
    reward = Watched(wave)
    fresh = Scripted([4], recommends=lambda o: ["p1", f"p{100 + o.steps}"])
    result = optimize(fresh, reward, evaluations=10, validate_every=1)
    assert [call for call in reward.calls if call[0] > "p1" and len(call) == 1] == [["p101"], ["p102"]]
    assert result.evaluations == 10
    assert len(reward.prompts) == 10
    assert {t.prompt for t in result.trials} == {"p1", "p101", "p102"}


@given(
    widths=st.lists(st.integers(1, 9), min_size=1, max_size=5), budget=st.integers(1, 40), every=st.integers(1, 4),
    news=st.integers(0, 3), validated=st.booleans(),
)  # fmt: skip
def test_what_is_scored_is_what_is_counted(
    widths: list[int], budget: int, every: int, news: int, validated: bool
) -> None:
    reward = Watched(wave)
    optimizer = Scripted(widths, recommends=lambda o: [f"p{1000 * o.steps + i}" for i in range(news)])
    result = optimize(
        optimizer, reward, evaluations=budget, validate=upwards if validated else None, validate_every=every
    )
    assert result.evaluations == len(reward.prompts) <= budget
    assert result.evaluations == budget


def test_the_training_reward_is_called_once_a_step() -> None:
    reward = Watched(wave)
    optimize(Scripted(), reward, evaluations=12, validate=upwards)
    assert [len(call) for call in reward.calls] == [4, 4, 4]


@pytest.mark.parametrize(
    "settings",
    [{"evaluations": 0}, {"evaluations": -5}, {"validate_every": 0}, {"save_every": 0}, {"seconds": 0.0},
     {"seconds": -1.0}, {"seconds": math.nan}],
)  # fmt: skip
def test_a_budget_or_interval_below_one_raises_before_anything_is_asked(settings: dict[str, Any]) -> None:
    optimizer = Scripted()
    with pytest.raises(InputError):
        optimize(optimizer, wave, **{"evaluations": 8, **settings})
    assert optimizer.asked == 0


def test_the_optimizer_gets_its_proposal_back_with_the_rewards_in_order() -> None:
    optimizer = Scripted()
    optimize(optimizer, wave, evaluations=8)
    assert len(optimizer.told) == 2
    for proposal, rewards in optimizer.told:
        assert type(proposal.memo) is object
        assert rewards.tolist() == wave(proposal.prompts).tolist()


@pytest.mark.parametrize("kind", [list, lambda x: x, lambda x: x.double(), lambda x: x.long()])
def test_rewards_may_be_any_numbers_that_make_a_tensor(kind: Callable[[Tensor], Any]) -> None:
    result = optimize(Scripted(), lambda prompts: kind(wave(prompts)), evaluations=8)
    assert result.best == Trial(2, "p3", 10.0)


def test_recommendations_are_validated_every_few_steps_and_at_the_end_each_prompt_once() -> None:
    validate = Watched(downwards)
    optimizer = Scripted(recommends=lambda o: ["p0", f"p{o.asked - 1}", "p0"])
    result = optimize(optimizer, upwards, evaluations=4 * 7, validate=validate, validate_every=3)
    assert validate.calls == [["p0", "p11"], ["p23"], ["p27"]]
    assert result.trials == [
        Trial(3, "p0", 0.0),
        Trial(3, "p11", -11.0),
        Trial(6, "p23", -23.0),
        Trial(7, "p27", -27.0),
    ]


def test_validation_chooses_the_prompt_and_the_optimizer_never_hears_of_it() -> None:
    optimizer = Scripted(recommends=lambda o: [f"p{i}" for i in range(o.asked)])
    result = optimize(optimizer, upwards, evaluations=8, validate=downwards)
    assert result.best == Trial(2, "p0", 0.0)
    assert [rewards.tolist() for _, rewards in optimizer.told] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_validation_does_not_count_as_evaluations() -> None:
    optimizer = Scripted(recommends=lambda o: [f"p{i}" for i in range(o.asked)])
    result = optimize(optimizer, upwards, evaluations=8, validate=downwards, validate_every=1)
    assert result.evaluations == 8
    assert len(result.trials) == 8


def test_without_validation_the_training_reward_chooses() -> None:
    result = optimize(Scripted(), wave, evaluations=8)
    assert result.best == Trial(2, "p3", 10.0)


def test_a_validation_reward_that_is_empty_when_the_run_begins_is_used_all_the_same() -> None:
    validate = Cached(downwards)
    assert not validate  # it has a length, which is zero
    result = optimize(Scripted(recommends=lambda o: ["p0", "p3"]), upwards, evaluations=4, validate=validate)
    assert result.best == Trial(1, "p0", 0.0)
    assert len(validate) == 2


def test_among_equal_scores_the_earliest_trial_wins() -> None:
    optimizer = Scripted(recommends=lambda o: [f"p{o.asked - 1}", f"p{o.asked - 2}"])
    result = optimize(optimizer, wave, evaluations=12, validate=lambda p: torch.ones(len(p)), validate_every=1)
    assert result.best == result.trials[0] == Trial(1, "p3", 1.0)
    assert len(result.trials) == 6


def test_best_trial_is_the_highest_the_earliest_among_equals_and_none_of_none() -> None:
    trials = [Trial(1, "a", 0.5), Trial(2, "b", 0.7), Trial(3, "c", 0.7)]
    assert best_trial(trials) == trials[1]
    assert best_trial([]) is None


def test_without_any_recommendation_the_best_prompt_by_training_reward_is_the_result() -> None:
    result = optimize(Scripted(recommends=lambda o: []), wave, evaluations=8, validate=upwards)
    assert (result.best.prompt, result.best.score) == ("p3", 10.0)
    assert result.trials == []


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_not_finite_raises_and_names_the_prompt_and_the_value(bad: float) -> None:
    optimizer = Scripted()
    with pytest.raises(RewardError, match=f"'p2' is {bad}"):
        optimize(optimizer, lambda prompts: [bad if p == "p2" else 0.0 for p in prompts], evaluations=8)
    assert optimizer.told == []


@pytest.mark.parametrize("shape", [(3,), (5,), (4, 1), (), (1, 4)])
def test_a_reward_of_the_wrong_shape_raises_and_names_it(shape: tuple[int, ...]) -> None:
    with pytest.raises(RewardError, match="4 prompts"):
        optimize(Scripted(), lambda prompts: torch.zeros(shape), evaluations=8)


def fails(error: BaseException) -> Callable[[list[str]], Tensor]:
    def reward(prompts: list[str]) -> Tensor:
        raise error

    return reward


def test_a_reward_that_raises_becomes_a_reward_error_with_its_cause() -> None:
    fault = KeyError("no such model")
    with pytest.raises(RewardError, match=r"KeyError.*no such model.*'p0'") as caught:
        optimize(Scripted(), fails(fault), evaluations=8)
    assert caught.value.__cause__ is fault


@pytest.mark.parametrize("error", [InputError("mend me"), KeyboardInterrupt()])
def test_errors_that_say_how_to_mend_them_and_interrupts_pass_through_untouched(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        optimize(Scripted(), fails(error), evaluations=8)
    assert caught.value is error


def test_a_broken_validation_reward_raises_too() -> None:
    with pytest.raises(RewardError, match="nan"):
        optimize(Scripted(), wave, evaluations=8, validate=lambda prompts: torch.full((len(prompts),), math.nan))


def test_callbacks_see_every_step_with_its_counts() -> None:
    steps: list[Step] = []
    optimize(Scripted(), wave, evaluations=12, validate=upwards, validate_every=2, callbacks=[steps.append])
    assert [s.number for s in steps] == [1, 2, 3]
    assert [s.evaluations for s in steps] == [4, 8, 12]
    assert [s.fraction for s in steps] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert [s.prompts for s in steps] == [[f"p{4 * i + j}" for j in range(4)] for i in range(3)]
    assert [s.rewards for s in steps] == [[0, 7, 3, 10], [6, 2, 9, 5], [1, 8, 4, 0]]
    assert [s.best_reward for s in steps] == [10, 10, 10]
    assert [s.log for s in steps] == [{"told": 1.0}, {"told": 2.0}, {"told": 3.0}]
    assert steps[0].best is None
    assert steps[1].best == Trial(2, "p3", 3.0)


def test_all_callbacks_are_called_in_order() -> None:
    heard: list[str] = []
    optimize(Scripted(), wave, evaluations=8, callbacks=[lambda s: heard.append("a"), lambda s: heard.append("b")])
    assert heard == ["a", "b", "a", "b"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Time as the engine sees it, moved by hand."""
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def slow(clock: SimpleNamespace, seconds: float) -> Callable[[list[str]], Tensor]:
    def reward(prompts: list[str]) -> Tensor:
        clock.seconds += seconds
        return wave(prompts)

    return reward


def test_the_run_ends_after_the_step_that_uses_up_the_seconds(clock: SimpleNamespace) -> None:
    steps: list[Step] = []
    result = optimize(
        Scripted(), slow(clock, 10.0), evaluations=400, seconds=25.0, validate=upwards, callbacks=[steps.append]
    )
    assert result.stopped == "seconds"
    assert result.evaluations == 12
    assert [s.seconds for s in steps] == [10.0, 20.0, 30.0]
    assert [s.fraction for s in steps] == pytest.approx([0.4, 0.8, 1.0])
    assert result.trials  # the last step always validates


def test_without_a_limit_of_seconds_the_evaluations_decide(clock: SimpleNamespace) -> None:
    assert optimize(Scripted(), slow(clock, 1e6), evaluations=12).evaluations == 12


def test_the_seconds_of_the_earlier_part_of_a_run_count(clock: SimpleNamespace) -> None:
    progress = Progress(step=2, evaluations=8, seconds=18.0)
    result = optimize(Scripted(), slow(clock, 10.0), evaluations=400, seconds=25.0, progress=progress)
    assert result.evaluations == 12
    assert progress.seconds == 28.0


def test_checkpoints_are_written_every_few_steps_and_at_the_end() -> None:
    saved: list[int] = []
    optimize(Scripted(), wave, evaluations=4 * 5, save=lambda at: saved.append(at.step), save_every=2)
    assert list(dict.fromkeys(saved)) == [2, 4, 5]


def test_the_last_checkpoint_holds_every_trial() -> None:
    saved: list[dict[str, Any]] = []
    result = optimize(Scripted(), wave, evaluations=20, validate=upwards, save=lambda at: saved.append(at.state_dict()))
    assert saved[-1]["trials"] == [[t.step, t.prompt, t.score] for t in result.trials]
    assert len(result.trials) == 1


def test_an_interrupted_run_saves_stops_after_its_step_and_does_not_validate() -> None:
    saved: list[int] = []
    validate = Watched(upwards)
    asked = iter([False, False, True])
    result = optimize(
        Scripted(), wave, evaluations=400, validate=validate, validate_every=50,
        save=lambda at: saved.append(at.step), save_every=50, interrupted=lambda: next(asked),
    )  # fmt: skip
    assert (result.stopped, result.evaluations, saved) == ("interrupt", 12, [3])
    assert validate.calls == []
    assert result.best.prompt == "p3"  # by training reward, for want of a trial


def run_in_parts(stops: Sequence[int], validate_every: int) -> tuple[Result, Scripted, list[str]]:
    """One run of 40 evaluations, interrupted after each step of ``stops`` and resumed by new objects from JSON."""
    state: tuple[str, str] | None = None
    seen: list[str] = []
    for stop in [*stops, 10**9]:
        optimizer, progress = Scripted(), Progress()
        if state is not None:
            optimizer.load_state_dict(json.loads(state[0]))
            progress.load_state_dict(json.loads(state[1]))

        def save(at: Progress, optimizer: Scripted = optimizer) -> None:
            nonlocal state
            state = (json.dumps(optimizer.state_dict()), json.dumps(at.state_dict()))

        result = optimize(
            optimizer, wave, evaluations=40, validate=downwards, validate_every=validate_every, progress=progress,
            save=save, callbacks=[lambda s: seen.extend(s.prompts)],
            interrupted=lambda progress=progress, stop=stop: progress.step == stop,
        )  # fmt: skip
    return result, optimizer, seen


@pytest.mark.parametrize("validate_every", [1, 3, 100])
@pytest.mark.parametrize("stops", [[1], [3], [2, 3, 7], [10], [4, 10]])
def test_an_interrupted_and_resumed_run_ends_like_an_uninterrupted_one(stops: list[int], validate_every: int) -> None:
    whole, optimizer, prompts = run_in_parts([], validate_every)
    parts, resumed, prompts_in_parts = run_in_parts(stops, validate_every)
    assert (parts.best, parts.trials, parts.evaluations) == (whole.best, whole.trials, whole.evaluations)
    assert parts.stopped == "evaluations"
    assert prompts_in_parts == prompts
    assert resumed.state_dict() == optimizer.state_dict()


def test_resuming_a_finished_run_asks_nothing_and_returns_its_result() -> None:
    progress = Progress()
    first = optimize(Scripted(), wave, evaluations=12, validate=upwards, progress=progress)
    reward, validate = Watched(wave), Watched(upwards)
    again = optimize(
        Scripted(recommends=lambda o: ["p3"]), reward, evaluations=12, validate=validate, progress=progress
    )
    assert (again.best, again.evaluations) == (first.best, first.evaluations)
    assert reward.calls == []
    assert validate.calls == []


def test_progress_survives_json() -> None:
    progress = Progress(3, 12, 1.5, 0.7, "p1", [Trial(2, "p1", 0.25)], 2)
    restored = Progress()
    restored.load_state_dict(json.loads(json.dumps(progress.state_dict())))
    assert restored == progress


def test_a_cached_reward_scores_each_prompt_once_and_answers_in_order() -> None:
    reward = Watched(wave)
    cached = Cached(reward)
    assert cached(["p3", "p1", "p3"]).tolist() == [10.0, 7.0, 10.0]
    assert cached(["p1", "p2"]).tolist() == [7.0, 3.0]
    assert reward.calls == [["p3", "p1"], ["p2"]]
    assert (len(cached), cached.hits) == (3, 2)


def test_a_cached_reward_remembers_through_a_checkpoint(tmp_path: Path) -> None:
    cached, restored = Cached(wave), Cached(fails(AssertionError("asked again")))
    cached(["p3", "p1", "p3"])
    StateStore(tmp_path).save(1, cached.state_dict())
    restored.load_state_dict(StateStore(tmp_path).load())
    assert restored(["p1", "p3"]).tolist() == [7.0, 10.0]
    assert restored.hits == 3


class Twins(Scripted):
    """Proposes one prompt twice."""

    def ask(self, room: int = EVERYTHING) -> Proposal:
        self.steps += 1
        return Proposal(["p1", "p1"][:room])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_reward_of_the_wrong_length_is_found_out_behind_the_cache_too(count: int) -> None:
    twins, reward = Twins(recommends=lambda o: []), Cached(lambda prompts: torch.zeros(count))  # of one new prompt
    if count == 1:
        assert optimize(twins, reward, evaluations=2).evaluations == 2
    else:
        with pytest.raises(RewardError, match=str(count)):
            optimize(twins, reward, evaluations=2)


def test_a_reward_that_is_not_finite_is_not_remembered() -> None:
    answers = iter([math.nan, 1.0])
    reward = Cached(lambda prompts: torch.tensor([next(answers)]))
    with pytest.raises(RewardError, match="nan"):
        optimize(Twins(), reward, evaluations=2)
    assert optimize(Twins(), reward, evaluations=2).best.score == 1.0

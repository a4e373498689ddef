"""A user's reward: how it is found, and that each of its failures is one error that names a prompt."""

import math
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hardprompt.errors import InputError, RewardError
from hardprompt.tasks.function.reward import FunctionReward, load_reward

MODULE = """
def reward(prompts):
    return [float(len(p)) for p in prompts]

class Scorer:
    def __call__(self, prompts):
        return [1.0 for _ in prompts]

class NeedsMore:
    def __init__(self, model):
        self.model = model

number = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    (tmp_path / "own_reward.py").write_text(MODULE)
    (tmp_path / "broken_reward.py").write_text("import nothing_of_the_kind\n")
    yield "own_reward"
    for name in ("own_reward", "broken_reward"):
        sys.modules.pop(name, None)


def test_a_function_and_a_class_are_found_where_the_user_stands(module: str) -> None:
    assert load_reward(f"{module}:reward")(["ab"]) == [2.0]
    assert load_reward(f"{module}:Scorer")(["ab"]) == [1.0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_reward", "is not MODULE:NAME"),
        ("own_reward.py:reward", "name the module: own_reward:reward"),
        ("own_reward:rewad", "Did you mean 'reward'"),
        ("no_such_rewards:reward", "could not be imported: ModuleNotFoundError"),
        ("broken_reward:reward", "nothing_of_the_kind"),
        ("own_reward:number", "is a int, which cannot be called"),
        ("own_reward:NeedsMore", "making a NeedsMore raised TypeError"),
    ],
)
def test_what_is_no_reward_is_one_line(module: str, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_reward(name)
    assert "\n" not in str(caught.value)


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=5))
def test_numbers_come_through_as_they_are(numbers: list[float]) -> None:
    prompts = [f"p{i}" for i in range(len(numbers))]
    for values in (numbers, tuple(numbers), torch.tensor(numbers, dtype=torch.float64)):
        assert FunctionReward(lambda _, v=values: v)(prompts).tolist() == numbers


def test_the_function_gets_whole_prompts_in_a_list_of_its_own() -> None:
    seen: list[list[str]] = []

    def spoil(prompts: list[str]) -> list[float]:
        seen.append(list(prompts))
        prompts.clear()
        return [0.0, 1.0]

    given = ["a", "b"]
    assert FunctionReward(spoil)(given).tolist() == [0.0, 1.0]
    assert seen == [["a", "b"]]
    assert given == ["a", "b"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0], "returned 1 numbers for 2 prompts, the first 'a'"),
        (None, "returned None"),
        (3.0, "a list of 2 numbers was expected"),
        ([1.0, math.nan], "the reward of 'b' is nan"),
        ([math.inf, 1.0], "the reward of 'a' is inf"),
        ([1.0, "2"], "the reward of 'b' is '2'"),
        ([1.0, None], "the reward of 'b' is None"),
        ([1.0, 10**400], "the reward of 'b' is 1000"),
    ],
)
def test_what_is_no_finite_number_each_is_named(values: Any, message: str) -> None:
    with pytest.raises(RewardError, match=message):
        FunctionReward(lambda _: values)(["a", "b"])


@pytest.mark.parametrize("timeout", [None, 60.0])
@pytest.mark.parametrize("error", [ValueError("odd\nlong story"), SystemExit(3), ZeroDivisionError()])
def test_an_exception_is_the_rewards_and_names_the_prompt(error: BaseException, timeout: float | None) -> None:
    def fail(_: list[str]) -> list[float]:
        raise error

    with pytest.raises(RewardError, match=f"raised {type(error).__name__}.* for the prompt 'a'") as caught:
        FunctionReward(fail, timeout=timeout)(["a"])
    assert "\n" not in str(caught.value)


def test_a_hang_is_left_behind() -> None:
    hold = threading.Event()
    try:
        with pytest.raises(RewardError, match=r"no answer within 0.05 seconds \(--reward-timeout\) for the prompt 'a'"):
            FunctionReward(lambda _: [float(hold.wait())], timeout=0.05)(["a"])
    finally:
        hold.set()


def test_a_generator_is_read_while_the_clock_runs() -> None:
    hold = threading.Event()

    def slowly(prompts: list[str]) -> Any:
        for _ in prompts:
            yield float(hold.wait())

    def broken(_: list[str]) -> Any:
        yield 1.0
        raise TypeError("inside")

    try:
        with pytest.raises(RewardError, match="no answer within"):
            FunctionReward(slowly, timeout=0.05)(["a"])
    finally:
        hold.set()
    assert FunctionReward(slowly, timeout=60.0)(["a"]).tolist() == [1.0]
    with pytest.raises(RewardError, match="raised TypeError: inside"):
        FunctionReward(broken)(["a"])


def test_ctrl_c_is_no_failure_of_the_reward() -> None:
    def stop(_: list[str]) -> list[float]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FunctionReward(stop)(["a"])

"""Cached: a prompt is scored once, and the memory is part of a checkpoint."""

import pytest
import torch

from hardprompt.errors import RewardError
from hardprompt.search.rewards import Cached


def test_each_prompt_is_scored_once_and_hits_are_counted() -> None:
    asked: list[str] = []

    def reward(prompts: list[str]) -> torch.Tensor:
        asked.extend(prompts)
        return torch.tensor([float(len(p)) for p in prompts])

    cached = Cached(reward)
    assert cached(["a", "bb", "a"]).tolist() == [1.0, 2.0, 1.0]
    assert cached(["bb", "ccc"]).tolist() == [2.0, 3.0]
    assert asked == ["a", "bb", "ccc"]
    assert cached.hits == 2
    other = Cached(reward)
    other.load_state_dict(cached.state_dict())
    assert other(["ccc"]).tolist() == [3.0]
    assert asked == ["a", "bb", "ccc"]


def test_a_reward_of_the_wrong_length_is_named_and_not_remembered() -> None:
    cached = Cached(lambda prompts: torch.zeros(len(prompts) + 1))
    with pytest.raises(RewardError, match="for 1 prompts"):
        cached(["a"])
    assert len(cached) == 0


def test_the_oldest_prompt_is_forgotten_first_and_scored_again() -> None:
    asked: list[str] = []

    def reward(prompts: list[str]) -> torch.Tensor:
        asked.extend(prompts)
        return torch.tensor([float(len(p)) for p in prompts])

    cached = Cached(reward, kept=2)
    assert cached(["a", "bb", "ccc"]).tolist() == [1.0, 2.0, 3.0]
    assert len(cached) == 2
    assert cached(["ccc", "a"]).tolist() == [3.0, 1.0]
    assert asked == ["a", "bb", "ccc", "a"]

"""A planted prompt: the reward counts the places that hold one token, and the learner has to find it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from hardprompt.lms.policy import PolicyLM
from hardprompt.optimizers.qlearning.learner import QLearner
from hardprompt.optimizers.random_search import RandomSearch
from hardprompt.search.engine import optimize
from tests.conftest import make_tiny

LENGTH, EVALUATIONS, SEEDS = 4, 320, range(5)
PLANTED = "great"
WORDS = (
    PLANTED, "film", "good", "story", "man", "woman", "sea", "food", "dog", "world", "news", "game", "music",
    "morning", "friend", "house", "water", "book", "sun", "wind", "time", "day", "market", "people",
)  # fmt: skip


@pytest.fixture(scope="module")
def policy(tiny_tokenizer: Any) -> PolicyLM:
    policy = PolicyLM(make_tiny("llama"), tiny_tokenizer)
    mask = torch.zeros(policy.vocabulary_size, dtype=torch.bool)
    for word in WORDS:
        (token,) = tiny_tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
        mask[token] = True
    policy.opens = policy.follows = mask
    return policy


def planted(prompts: list[str]) -> Tensor:
    """A hundred times the share of the places that hold the planted word."""
    return torch.tensor([100.0 * prompt.split().count(PLANTED) / LENGTH for prompt in prompts])


def best_rewards(build: Callable[[int], Any]) -> list[float]:
    """The best reward met in training, for each seed."""
    best = []
    for seed in SEEDS:
        met: list[float] = []
        optimize(
            build(seed), planted, evaluations=EVALUATIONS, validate=planted,  # so that all evaluations are the search's
            callbacks=[lambda s, met=met: met.extend(s.rewards)],
        )  # fmt: skip
        assert len(met) == EVALUATIONS
        best.append(max(met))
    return best


@pytest.fixture(scope="module")
def by_chance(policy: PolicyLM) -> float:
    """What random search reaches, on average over the seeds; the largest possible reward is 100."""
    best = best_rewards(lambda seed: RandomSearch(policy=policy, length=LENGTH, seed=seed))
    return sum(best) / len(best)


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "monte_carlo", "q": 2.0, "alpha": 0.3, "updates": 4},
        {"loss": "monte_carlo", "q": 1.0, "alpha": 0.3, "updates": 4},
        {"loss": "single_step", "q": 2.0, "alpha": 0.3, "updates": 4},
        {"loss": "path_consistency", "q": 1.0, "alpha": 0.2, "updates": 4, "replay": 0},  # RLPrompt
    ],
    ids=lambda settings: f"{settings['loss']}, q = {settings['q']:g}",
)
def test_the_learner_finds_more_of_the_planted_prompt_than_random_search_of_the_same_tokens(
    policy: PolicyLM, by_chance: float, settings: dict[str, Any]
) -> None:
    shared: dict[str, Any] = {
        "length": LENGTH, "top_k": None, "hidden": 64, "batch": 32, "learning_rate": 3e-3, "rho": 0.2
    }  # fmt: skip
    best = best_rewards(lambda seed: QLearner(policy=policy, seed=seed, **shared, **settings))
    assert sum(best) / len(best) >= by_chance + 20.0
    assert by_chance >= 25.0  # random search does find a place or more, so it is no straw man

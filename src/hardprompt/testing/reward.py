"""What every reward promises: finite numbers in order, the same whatever they are asked together with."""

from collections.abc import Callable, Sequence

import torch

from hardprompt.search.rewards import ItemReward, Reward
from hardprompt.testing.comparing import assert_close, assert_each_alone

PROMPTS = (" It was", " In one word:", " The answer is", " So")

RewardCheck = Callable[[Callable[[], Reward], Sequence[str]], None]


def is_finite(build: Callable[[], Reward], prompts: Sequence[str] = PROMPTS) -> None:
    """One finite number for each prompt."""
    scores = torch.as_tensor(build()(list(prompts)))
    assert scores.shape == (len(prompts),), f"the reward of {len(prompts)} prompts has shape {tuple(scores.shape)}."
    wrong = [p for p, s in zip(prompts, scores.tolist(), strict=True) if not torch.isfinite(torch.tensor(s))]
    assert not wrong, f"the reward of {wrong[:1]} is not finite."


def keeps_no_company(build: Callable[[], Reward], prompts: Sequence[str] = PROMPTS) -> None:
    """The reward of a prompt does not depend on what else is asked, nor on the order."""
    reward = build()
    assert_each_alone(lambda some: torch.as_tensor(reward(some)), prompts, "the reward of a prompt")


def stays_the_same(build: Callable[[], Reward], prompts: Sequence[str] = PROMPTS) -> None:
    """The reward of a prompt is the same later, and when it is built anew."""
    reward = build()
    first = torch.as_tensor(reward(list(prompts)))
    assert_close(torch.as_tensor(reward(list(prompts))), first, "the reward of a prompt must be the same later")
    assert_close(torch.as_tensor(build()(list(prompts))), first, "the reward of a prompt must be the same built anew")


def scores_items(build: Callable[[], ItemReward], prompts: Sequence[str] = PROMPTS) -> None:
    """A finite number, or several, for each prompt and item, and on some of the items their columns of all."""
    reward = build()
    assert reward.items >= 1, f"the reward has {reward.items} items; at least 1 was expected."
    scores = reward.score(list(prompts))
    assert scores.shape[:2] == (len(prompts), reward.items), (
        f"score() of {len(prompts)} prompts on {reward.items} items has shape {tuple(scores.shape)}."
    )
    assert bool(scores.isfinite().all()), "score() holds what is not finite."
    last = reward.items - 1
    for items in ([0], [last], [last, 0], [*range(reward.items)][::2]):
        assert_close(
            reward.score(list(prompts), items), scores[:, items], f"score() on items {items} and their columns"
        )


def scores_keep_no_company(build: Callable[[], ItemReward], prompts: Sequence[str] = PROMPTS) -> None:
    """The scores of a prompt on its items do not depend on what else is asked."""
    assert_each_alone(build().score, prompts, "the scores of a prompt")


def aggregates_to_itself(build: Callable[[], ItemReward], prompts: Sequence[str] = PROMPTS) -> None:
    """The reward is the aggregate of the scores on all items, for each prompt on its own."""
    reward = build()
    scores = reward.score(list(prompts))
    whole = torch.as_tensor(reward(list(prompts)))
    assert_close(reward.aggregate(scores), whole, "aggregate() of the scores on all items and the reward")
    alone = torch.cat([reward.aggregate(row[None]) for row in scores])
    assert_close(alone, whole, "aggregate() of a prompt alone and among others")
    some = reward.aggregate(scores[:, -1:], [reward.items - 1])
    assert some.shape == (len(prompts),), f"aggregate() of one item has shape {tuple(some.shape)}."
    assert bool(some.isfinite().all()), "aggregate() of one item is not finite."


REWARD_CHECKS: Sequence[RewardCheck] = (is_finite, keeps_no_company, stays_the_same)
ITEM_REWARD_CHECKS: Sequence[Callable[[Callable[[], ItemReward], Sequence[str]], None]] = (
    scores_items,
    scores_keep_no_company,
    aggregates_to_itself,
)


def check_reward(build: Callable[[], Reward], prompts: Sequence[str] = PROMPTS) -> None:
    """Hold a reward to all of its promises, as an ItemReward too where it is one.

    Args:
        build: makes the reward; it may hand out the same one again.
        prompts: at least two different ones that it can score.
    """
    assert isinstance(build(), Reward), "a reward must be callable with a list of prompts."
    for check in REWARD_CHECKS:
        check(build, prompts)
    if isinstance(build(), ItemReward):
        for item_check in ITEM_REWARD_CHECKS:
            item_check(build, prompts)  # type: ignore[arg-type]

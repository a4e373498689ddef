"""Stochastic beam search against draws without replacement, worked out by going through all orders."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hardprompt.optimizers.drawing import Ids
from hardprompt.optimizers.qlearning.beam import stochastic_beam

Tree = Callable[[list[Ids]], list[tuple[Tensor, Tensor]]]
DRAWS = 1500


def tree_of(tokens: int, length: int, seed: int, *, nothing: float = 0.0) -> tuple[Tree, dict[Ids, float]]:
    """A policy of random probabilities, some of them 0, and the probability of each whole prompt."""
    draw = torch.Generator().manual_seed(seed)
    chances = {}
    for depth in range(length):
        for prefix in itertools.product(range(tokens), repeat=depth):
            row = torch.rand(tokens, generator=draw) ** 2 * (torch.rand(tokens, generator=draw) >= nothing)
            row[int(torch.randint(tokens, (1,), generator=draw))] += 0.1
            chances[prefix] = row / row.sum()
    whole = {
        prompt: math.prod(float(chances[prompt[:t]][prompt[t]]) for t in range(length))
        for prompt in itertools.product(range(tokens), repeat=length)
    }  # fmt: skip
    return lambda prefixes: [(torch.arange(tokens), chances[p]) for p in prefixes], whole


def inclusion(chances: dict[Ids, float], count: int) -> dict[Ids, float]:
    """How probable it is that each is among ``count`` drawn one by one without replacement, by all orders."""
    chosen = dict.fromkeys(chances, 0.0)

    def draw(left: dict[Ids, float], weight: float, more: int) -> None:
        total = math.fsum(left.values())
        if more and total > 0:
            for prompt, chance in left.items():
                chosen[prompt] += weight * chance / total
                draw({p: c for p, c in left.items() if p != prompt}, weight * chance / total, more - 1)

    draw(chances, 1.0, count)
    return chosen


@pytest.mark.parametrize(("width", "left_out"), [(1, 0), (3, 0), (6, 3)])
def test_prompts_are_drawn_as_one_by_one_without_replacement(width: int, left_out: int) -> None:
    policies, whole = tree_of(3, 2, seed=1)
    # The first three that may be taken of a wider beam are a draw from what may be taken.
    allowed = {prompt: chance for i, (prompt, chance) in enumerate(whole.items()) if i % 3 or not left_out}
    count = width - left_out
    expected = inclusion(allowed, count)
    generator, times = torch.Generator().manual_seed(0), dict.fromkeys(allowed, 0)
    for _ in range(DRAWS):
        found = [p for p in stochastic_beam(policies, 2, width, generator) if p in allowed]
        for prompt in found[:count]:
            times[prompt] += 1
    for prompt, p in expected.items():
        assert times[prompt] / DRAWS == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / DRAWS) + 1e-9), prompt


@given(st.integers(0, 1000), st.integers(1, 40), st.sampled_from([0.0, 0.5, 1.0]))
def test_prompts_are_different_of_the_support_and_as_many_as_there_are(seed: int, width: int, nothing: float) -> None:
    policies, whole = tree_of(3, 3, seed, nothing=nothing)
    support = {prompt for prompt, chance in whole.items() if chance > 0}
    asked: list[list[Ids]] = []

    def watched(prefixes: list[Ids]) -> list[tuple[Tensor, Tensor]]:
        asked.append(prefixes)
        return policies(prefixes)

    found = stochastic_beam(watched, 3, width, torch.Generator().manual_seed(seed))
    assert len(found) == len(set(found)) == min(width, len(support))
    assert set(found) <= support
    assert [{len(p) for p in prefixes} for prefixes in asked] == [{0}, {1}, {2}]


def test_a_prefix_that_nothing_may_follow_is_given_up() -> None:
    def policies(prefixes: list[Ids]) -> list[tuple[Tensor, Tensor]]:
        return [
            (torch.tensor([]), torch.tensor([])) if p == (0,) else (torch.arange(2), torch.tensor([0.5, 0.5]))
            for p in prefixes
        ]

    found = stochastic_beam(policies, 2, 9, torch.Generator().manual_seed(0))
    assert sorted(found) == [(1, 0), (1, 1)]


def test_a_policy_that_is_almost_sure_is_drawn_from_without_a_fault() -> None:
    chances = torch.tensor([1.0 - 3e-7, 1e-7, 1e-7, 1e-7])
    found = stochastic_beam(lambda ps: [(torch.arange(4), chances) for _ in ps], 4, 64, torch.Generator())
    assert len(set(found)) == 64

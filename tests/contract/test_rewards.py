"""Cached and PerStep by pairs, against a dictionary: a pair is scored once, and the memory is part of a checkpoint."""

import zlib
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hardprompt import testing
from hardprompt.errors import RewardError
from hardprompt.search.rewards import Cached, Memoised, PerStep
from hardprompt.testing.comparing import stored

ITEMS = 4
PROMPTS = st.lists(st.sampled_from(["a", "bb", "ccc", "dddd", "e"]), min_size=1, max_size=6)
CALLS = st.lists(
    st.tuples(PROMPTS, st.none() | st.lists(st.integers(0, ITEMS - 1), min_size=1, max_size=ITEMS, unique=True)),
    max_size=8,
)


def value(prompt: str, item: int) -> float:
    return zlib.crc32(f"{prompt} {item}".encode()) % 1000 / 10


class Counted:
    """Scores pairs, and counts each."""

    items = ITEMS

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def __call__(self, prompts: list[str]) -> Tensor:
        return self.aggregate(self.score(prompts))

    def score(self, prompts: Sequence[str], items: Sequence[int] | None = None) -> Tensor:
        at = range(self.items) if items is None else items
        self.asked += [(prompt, item) for prompt in prompts for item in at]
        return torch.tensor([[value(prompt, item) for item in at] for prompt in prompts])

    def aggregate(self, scores: Tensor, _: Sequence[int] | None = None) -> Tensor:
        return scores.mean(-1)


@given(CALLS)
def test_a_pair_is_never_scored_twice_and_each_score_is_what_the_reward_says(
    calls: list[tuple[list[str], list[int] | None]],
) -> None:
    behind = Counted()
    cached = Cached(behind)
    known: set[tuple[str, int]] = set()
    hits = scored = 0
    for prompts, items in calls:
        at = range(ITEMS) if items is None else items
        expected = torch.tensor([[value(p, i) for i in at] for p in prompts])
        torch.testing.assert_close(cached.score(prompts, items).float(), expected)
        asked = [p for p in dict.fromkeys(prompts) if any((p, i) not in known for i in at)]
        known |= {(p, i) for p in prompts for i in at}
        scored, hits = scored + len(asked), hits + len(prompts) - len(asked)
        assert (cached.scored, cached.hits) == (scored, hits)
    assert len(behind.asked) == len(set(behind.asked))
    assert set(behind.asked) == known
    for prompt in {p for p, _ in known}:
        met = [value(prompt, i) for p, i in known if p == prompt]
        assert cached.recall(prompt) == pytest.approx(sum(met) / len(met), rel=1e-6)
    assert cached.recall("never asked") is None


@given(CALLS, CALLS)
def test_a_saved_memory_goes_on_as_if_it_had_never_stopped(
    before: list[tuple[list[str], list[int] | None]], after: list[tuple[list[str], list[int] | None]]
) -> None:
    whole = Cached(Counted())
    for prompts, items in before:
        whole.score(prompts, items)
    resumed = Cached(Counted())
    resumed.load_state_dict(stored(whole.state_dict()))
    for prompts, items in after:
        assert torch.equal(whole.score(prompts, items), resumed.score(prompts, items))
    a, b = whole.state_dict(), resumed.state_dict()
    assert str(a) == str(b)


@given(st.lists(PROMPTS, max_size=12), st.integers(1, 3))
def test_the_oldest_prompt_is_forgotten_first_and_scored_again(calls: list[list[str]], kept: int) -> None:
    behind = Counted()
    cached = Cached(behind, kept=kept)
    held: list[str] = []
    for prompts in calls:
        behind.asked.clear()
        torch.testing.assert_close(cached(prompts).float(), Counted()(prompts))
        new = [p for p in dict.fromkeys(prompts) if p not in held]
        assert behind.asked == [(p, i) for p in new for i in range(ITEMS)]
        held = [*held, *new][-kept:]
        assert len(cached) == len(held)
        assert all(cached.recall(p) is not None for p in held)


@given(st.integers(1, ITEMS), st.booleans(), st.integers(0, 100), st.lists(PROMPTS, min_size=1, max_size=6))
def test_a_step_is_scored_on_its_own_items_and_resumes_with_the_same(
    per_step: int, zscore: bool, seed: int, calls: list[list[str]]
) -> None:
    def make() -> tuple[Counted, PerStep]:
        behind = Counted()
        return behind, PerStep(Cached(behind), per_step=per_step, zscore=zscore, seed=seed)

    (behind, step), (_, again) = make(), make()
    for prompts in calls:
        other = make()[1]
        other.load_state_dict(stored(step.state_dict()))
        rewards = step(prompts)
        assert torch.equal(rewards, other(prompts))
        assert torch.equal(rewards, again(prompts))
        scores = torch.tensor([[value(p, i) for i in range(ITEMS)] for p in prompts], dtype=torch.float64)
        if zscore:
            scores = (scores - scores.mean(0)) / (scores.std(0, correction=0) + 1e-4)
        subsets = torch.combinations(torch.arange(ITEMS), per_step)  # brute force: the rewards are those of one of them
        assert any(torch.allclose(rewards, scores[:, s].mean(-1), atol=1e-3) for s in subsets)
    assert len(behind.asked) == len(set(behind.asked))
    assert isinstance(step, Memoised)


def test_they_keep_the_promises_of_a_reward() -> None:
    testing.check_reward(Counted)
    testing.check_reward(lambda: Cached(Counted()))
    testing.check_reward(lambda: Cached(lambda prompts: torch.tensor([value(p, 0) for p in prompts])))


def test_a_reward_of_the_wrong_length_is_named_and_not_remembered() -> None:
    cached = Cached(lambda prompts: torch.zeros(len(prompts) + 1))
    with pytest.raises(RewardError, match="for 1 prompts"):
        cached(["a"])
    assert len(cached) == 0

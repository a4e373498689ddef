"""Random search: every allowed prompt equally often, and no other."""

from typing import Any

import pytest
import scipy.stats
import torch

from hardprompt.errors import InputError
from hardprompt.lms.policy import PolicyLM
from hardprompt.lms.vocabulary import survives
from hardprompt.optimizers.random_search import RandomSearch
from tests.conftest import Tiny

OPENERS = (" film", " book", " story")
WORDS = (" good", " great", " bad", " old", " new", " warm", " cold", ".")


def mask_of(policy: PolicyLM, words: tuple[str, ...]) -> torch.Tensor:
    mask = torch.zeros(policy.vocabulary_size, dtype=torch.bool)
    for word in words:
        (token,) = policy.tokenizer(word, add_special_tokens=False)["input_ids"]
        mask[token] = True
    return mask


@pytest.fixture
def policy(tiny_causal: Tiny) -> PolicyLM:
    policy = PolicyLM(*tiny_causal)
    policy.opens, policy.follows = mask_of(policy, OPENERS), mask_of(policy, WORDS)
    return policy


def drawn(policy: PolicyLM, **settings: Any) -> list[list[int]]:
    prompts = RandomSearch(policy=policy, **settings).ask().prompts
    return policy.tokenizer(prompts, add_special_tokens=False)["input_ids"]


def test_every_allowed_prompt_is_drawn_equally_often(policy: PolicyLM) -> None:
    rows = torch.tensor(drawn(policy, length=3, proposals=9600))
    for place, mask in enumerate((policy.opens, policy.follows, policy.follows)):
        counts = torch.bincount(rows[:, place], minlength=policy.vocabulary_size)
        assert bool((counts[~mask] == 0).all())
        assert scipy.stats.chisquare(counts[mask].numpy()).pvalue > 0.01
    whole = rows @ torch.tensor([policy.vocabulary_size**2, policy.vocabulary_size, 1])
    counts = torch.unique(whole, return_counts=True)[1]
    assert len(counts) == len(OPENERS) * len(WORDS) ** 2
    assert scipy.stats.chisquare(counts.numpy()).pvalue > 0.01  # so the places are independent too


def test_a_prompt_opens_and_goes_on_with_what_the_policy_allows_there(tiny_causal: Tiny) -> None:
    policy = PolicyLM(*tiny_causal)
    for ids in drawn(policy, length=4, proposals=200):
        assert len(ids) == 4
        assert bool(policy.opens[ids[0]])
        assert bool(policy.follows[ids[1:]].all())
        assert survives(policy.tokenizer, ids)


def test_prompts_that_do_not_survive_are_drawn_again(tiny_causal: Tiny) -> None:
    policy = PolicyLM(*tiny_causal, tokens="any")  # of which many combinations merge
    source = torch.Generator().manual_seed(0)
    loose = [torch.multinomial(policy.follows.float(), 3, generator=source).tolist() for _ in range(200)]
    assert not all(survives(policy.tokenizer, ids) for ids in loose)
    rows = drawn(policy, length=3, proposals=200)
    assert len(rows) == 200
    assert all(len(ids) == 3 and survives(policy.tokenizer, ids) for ids in rows)


def test_a_vocabulary_of_which_nothing_survives_raises_an_input_error(policy: PolicyLM) -> None:
    policy.opens, policy.follows = mask_of(policy, (" t",)), mask_of(policy, ("he",))  # together they are one token
    with pytest.raises(InputError, match="no surviving prompt of 2 tokens"):
        RandomSearch(policy=policy, length=2).ask()


def test_the_seed_decides_the_draws(policy: PolicyLM) -> None:
    assert drawn(policy, seed=1) == drawn(policy, seed=1)
    assert drawn(policy, seed=1) != drawn(policy, seed=2)


def test_it_recommends_the_best_seen(policy: PolicyLM) -> None:
    search = RandomSearch(policy=policy, length=2, proposals=8, recommended=3)
    seen: dict[str, float] = {}
    for _ in range(3):
        proposal = search.ask()
        rewards = torch.tensor([float(prompt.count("o")) - 0.01 * len(prompt) for prompt in proposal.prompts])
        seen.update(zip(proposal.prompts, rewards.tolist(), strict=True))
        assert search.tell(proposal, rewards) == {}
    assert [seen[prompt] for prompt in search.recommend()] == sorted(seen.values(), reverse=True)[:3]


def test_a_resumed_search_is_the_same_bit_for_bit(policy: PolicyLM) -> None:
    searches = [RandomSearch(policy=policy, seed=seed) for seed in (0, 5)]
    proposal = searches[0].ask()
    searches[0].tell(proposal, torch.arange(16.0))
    searches[1].load_state_dict(searches[0].state_dict())
    assert searches[0].ask().prompts == searches[1].ask().prompts
    assert searches[0].recommend() == searches[1].recommend()


@pytest.mark.parametrize("setting", [{"length": 0}, {"length": 33}, {"proposals": 0}, {"recommended": 0}])
def test_a_setting_out_of_range_raises_an_input_error(policy: PolicyLM, setting: dict[str, int]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(setting))} is {next(iter(setting.values()))}"):
        RandomSearch(policy=policy, **setting)

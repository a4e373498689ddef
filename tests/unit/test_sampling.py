"""Sampled continuations against transformers' own generation, and by their random numbers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hardprompt.errors import InputError
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.sampling import cut, pick, uniforms
from tests.conftest import ARCHITECTURES, RESCALED, Tiny

CONTEXTS = ["The film was", "We went to the market in the morning and got", "It"]


@pytest.fixture(params=[*ARCHITECTURES, *RESCALED])
def tiny(request: pytest.FixtureRequest, tiny_of: Callable[[str], Tiny]) -> Tiny:
    return tiny_of(request.param)


def test_greedy_continuations_are_those_of_transformers(tiny: Tiny) -> None:
    lm = CausalLM(*tiny)
    for context, (text,) in zip(CONTEXTS, lm.generate(CONTEXTS, top_k=1, longest=9, stop=()), strict=True):
        ids = torch.tensor([tiny.tokenizer(context)["input_ids"]])
        whole = tiny.model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=9, pad_token_id=2
        )
        assert text == tiny.tokenizer.decode(whole[0, ids.shape[1] :], skip_special_tokens=True)


def test_a_continuation_depends_on_its_seed_context_and_number_only(tiny: Tiny) -> None:
    lm = CausalLM(*tiny)
    together = lm.generate(CONTEXTS, samples=3, longest=[6, 8, 12], seed=5)
    assert [len(texts) for texts in together] == [3, 3, 3]
    alone = [lm.generate([c], samples=3, longest=n, seed=5)[0] for c, n in zip(CONTEXTS, (6, 8, 12), strict=True)]
    assert together == alone
    assert [texts[:1] for texts in together] == lm.generate(CONTEXTS, samples=1, longest=[6, 8, 12], seed=5)
    assert together != lm.generate(CONTEXTS, samples=3, longest=[6, 8, 12], seed=6)


def test_a_longer_continuation_begins_with_the_shorter_one(tiny_causal: Tiny) -> None:
    lm = CausalLM(*tiny_causal)
    for (short,), (long,) in zip(
        lm.generate(CONTEXTS, longest=4, stop=()), lm.generate(CONTEXTS, longest=10, stop=()), strict=True
    ):
        assert long.startswith(short.rstrip("�"))


def test_it_ends_before_the_stop_and_at_the_end_token(tiny_causal: Tiny) -> None:
    lm = CausalLM(*tiny_causal)
    free = lm.generate(CONTEXTS, samples=8, longest=20, stop=())
    marks = ("e", "o")
    for whole, stopped in zip(free, lm.generate(CONTEXTS, samples=8, longest=20, stop=marks), strict=True):
        for text, kept in zip(whole, stopped, strict=True):
            assert kept == cut(text, marks)[0]
    model = tiny_causal.model
    before = model.generation_config.eos_token_id
    context = tiny_causal.tokenizer(CONTEXTS[0])["input_ids"]
    with torch.no_grad():
        model.generation_config.eos_token_id = int(model(torch.tensor([context])).logits[0, -1].argmax())
    try:
        assert lm.generate(CONTEXTS[:1], top_k=1) == [[""]]
    finally:
        model.generation_config.eos_token_id = before


def test_texts_share_the_work_of_their_context(tiny_causal: Tiny) -> None:
    lm = CausalLM(*tiny_causal)
    before = lm.tokens_run
    lm.generate(CONTEXTS[:1], samples=5, longest=1)
    assert lm.tokens_run - before == len(tiny_causal.tokenizer(CONTEXTS[0])["input_ids"])


def test_nothing_to_do_is_nothing(tiny_causal: Tiny) -> None:
    lm = CausalLM(*tiny_causal)
    assert lm.generate([]) == []
    assert lm.generate(CONTEXTS[:1], samples=0) == [[]]
    assert lm.generate(CONTEXTS[:1], longest=0) == [[""]]


def test_a_context_that_leaves_no_room_is_named(tiny_causal: Tiny) -> None:
    with pytest.raises(InputError, match=r"leaves no room for 300 more: the task model reads 256"):
        CausalLM(*tiny_causal).generate(["The film"], longest=300)


def test_picks_follow_the_probabilities_of_the_likeliest() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 30)
    for top_k in (4, None):
        draws = torch.rand(40_000, dtype=torch.float64)
        found = pick(logits.expand(len(draws), -1), draws, top_k)
        kept = logits[0].topk(top_k or 30)
        wanted = torch.zeros(30).scatter(0, kept.indices, kept.values.softmax(-1))
        shares = torch.bincount(found, minlength=30) / len(draws)
        torch.testing.assert_close(shares, wanted, atol=0.01, rtol=0.0)


@given(st.floats(0.0, 1.0), st.integers(1, 8))
def test_every_number_picks_a_token_that_may_be_picked(draw: float, top_k: int) -> None:
    logits = torch.linspace(-60.0, 60.0, 8)[None]
    (token,) = pick(logits, torch.tensor([draw], dtype=torch.float64), top_k).tolist()
    assert 8 - top_k <= token < 8


@given(st.text(max_size=12), st.integers(0, 20), st.integers(0, 20))
def test_more_numbers_begin_with_the_same_ones(key: str, few: int, more: int) -> None:
    long, short = uniforms(key, few + more), uniforms(key, few)
    assert torch.equal(long[:few], short)
    assert bool(((long >= 0) & (long < 1)).all())


def test_cut_takes_the_first_mark() -> None:
    assert cut('a "b" c\n', ("\n", '"')) == ("a ", True)
    assert cut("abc", ("\n",)) == ("abc", False)
    assert cut("abc", ()) == ("abc", False)


def test_a_model_that_takes_no_tree_is_sampled_all_the_same(tiny_of: Any) -> None:
    lm = CausalLM(*tiny_of("mamba"))
    assert not lm.packed.allows("tree", 1)
    assert lm.generate(CONTEXTS, samples=2, longest=5) == [
        lm.generate([context], samples=2, longest=5)[0] for context in CONTEXTS
    ]

"""Packed trees over kept prefixes give what the model gives when every sequence is run whole, on every architecture."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import RobertaConfig, RobertaForCausalLM

from hardprompt.lms import packing
from hardprompt.lms.kept import Room
from hardprompt.lms.packing import PackedModel
from hardprompt.lms.proof import Proved
from tests.conftest import ARCHITECTURES, VOCABULARY, WINDOWED, Tiny, make_tiny

PACKING = {"llama": True, "gpt2": True, "opt": True, "gemma3": True, "bloom": False, "mamba": False}
TEXTS = (
    "The film was a great story about a man and a woman.",
    "The film was bad.",
    "We went to the market in the morning and got food, water and a book for the people.",
    "It is.",
)
PROMPTS = (" In one word it was", " In one word the answer is", " good or bad", " The")
LAYOUTS = {
    "prompt last": lambda text, prompt: (text, text + prompt),
    "prompt first": lambda text, prompt: ("", prompt + " " + text),
    "prompt in the middle": lambda text, prompt: (text, text + prompt + " It was"),
}

sequences = st.lists(st.lists(st.integers(5, 12), min_size=1, max_size=30), min_size=1, max_size=8)
beginnings = st.lists(st.lists(st.integers(5, 12), max_size=20), max_size=5)


def whole(packed: PackedModel, ids: Sequence[int]) -> Tensor:
    """All hidden states of one sequence, run alone and without padding."""
    with torch.no_grad():
        return packed.states(input_ids=torch.tensor([list(ids)]), use_cache=False)[0]


def assert_same_as_whole(
    packed: PackedModel, ids: Sequence[Sequence[int]], tails: Sequence[Sequence[int]] = ((),)
) -> None:
    out = packed.hidden(ids, tails=tails)
    assert len(out) == 1 + sum(map(len, tails))
    expected = [torch.stack([whole(packed, s)[-1] for s in ids])]
    for tail in tails:
        for j in range(1, len(tail) + 1):
            expected.append(torch.stack([whole(packed, [*s, *tail[:j]])[-1] for s in ids]))
    for got, wanted in zip(out, expected, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def packed_of(tiny_of: Callable[[str], Tiny]) -> Callable[[str], PackedModel]:
    """A new PackedModel, nothing kept, over the one model of an architecture."""
    return lambda arch, **settings: PackedModel(tiny_of(arch).model, **settings)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_probe_packs_the_models_that_take_a_tree_and_runs_the_others_plainly(packed_of: Any, arch: str) -> None:
    assert packed_of(arch).allows("tree", 1) is PACKING[arch]


@pytest.mark.parametrize("arch", [*ARCHITECTURES, *WINDOWED])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "not kept"])
def test_states_of_prompted_texts_equal_those_of_whole_sequences(
    tiny_of: Any, packed_of: Any, arch: str, layout: str, kept: bool
) -> None:
    tokenizer, packed = tiny_of(arch).tokenizer, packed_of(arch)
    filled = [LAYOUTS[layout](text, prompt) for text in TEXTS for prompt in PROMPTS]
    if kept:
        packed.keep([tokenizer(fixed)["input_ids"] for fixed, _ in filled])
    assert_same_as_whole(
        packed, [tokenizer(context)["input_ids"] for _, context in filled], tails=[(), (40, 41), (40,)]
    )


@pytest.mark.parametrize("arch", [*ARCHITECTURES, *WINDOWED])
def test_logits_of_the_head_at_packed_states_equal_those_of_whole_sequences(packed_of: Any, arch: str) -> None:
    packed = packed_of(arch)
    ids = [[0, *range(20, 30), *end] for end in ((), (31, 32), (31, 33), (34,))]
    packed.keep([ids[0]])
    (states,) = packed.hidden(ids)
    for state, sequence in zip(states, ids, strict=True):
        logits = packed.head.logits(whole(packed, sequence)[-1][None])[0]
        torch.testing.assert_close(packed.head.logits(state[None])[0], logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@given(ids=sequences, kept=beginnings, data=st.data())
def test_random_sequences_over_random_kept_beginnings_equal_whole_sequences(
    packed_of: Any, arch: str, ids: list[list[int]], kept: list[list[int]], data: st.DataObject
) -> None:
    packed = packed_of(arch)
    packed.keep([*kept, ids[0][: data.draw(st.integers(0, len(ids[0])))]])
    tails = data.draw(st.lists(st.lists(st.integers(5, 12), max_size=3), min_size=1, max_size=3))
    assert_same_as_whole(packed, ids, tails=tails)


@pytest.mark.parametrize("arch", ["llama", "opt"])
@given(ids=sequences, kept=beginnings)
def test_where_trees_are_cut_into_rows_and_rows_into_batches_does_not_matter(
    packed_of: Any, arch: str, ids: list[list[int]], kept: list[list[int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "_ROW_TOKENS", 8)
        patch.setattr(packing, "_BATCH_TOKENS", 16)
        packed = packed_of(arch)
        packed.keep(kept)
        assert_same_as_whole(packed, ids)


@pytest.mark.parametrize("arch", ["gemma3", *WINDOWED])
@pytest.mark.parametrize("length", [10, 11, 12, 13, 14, 38, 40, 42, 60])
def test_sequences_around_and_beyond_the_window_equal_whole_sequences(packed_of: Any, arch: str, length: int) -> None:
    generator = torch.Generator().manual_seed(length)
    text = torch.randint(5, VOCABULARY, (length - 3,), generator=generator).tolist()
    packed = packed_of(arch)
    packed.keep([text])
    assert_same_as_whole(
        packed, [[*text, *torch.randint(5, VOCABULARY, (3,), generator=generator).tolist()] for _ in range(6)]
    )


def test_that_longer_texts_take_a_slower_way_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    proved = Proved(None)
    allowed = [proved.holds("tree", length, lambda at: at < 64) for length in (5, 30, 40, 50, 700, 20)]
    assert allowed == [True, True, False, False, False, True]
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said.startswith("at 64 tokens, run as 'tree' gives something else")


@pytest.mark.parametrize("arch", ["gpt-neo", "gemma3-multimodal", "gemma3", "llama"])
def test_many_branches_over_a_kept_text_that_fits_the_window_equal_whole_sequences(packed_of: Any, arch: str) -> None:
    packed, text = packed_of(arch), [5, 6, 7, 8]
    packed.keep([text])
    assert_same_as_whole(packed, [[*text, i, i + 1, i + 2] for i in range(20, 60, 2)])  # 60 nodes in a tree


def test_states_come_in_the_order_of_the_sequences_and_repeats_are_equal(packed_of: Any) -> None:
    packed = packed_of("llama")
    ids = [[9, 9, 9], [5], [7, 8], [5], [9, 9, 9]]
    (states,) = packed.hidden(ids)
    (backwards,) = packed.hidden(ids[::-1])
    torch.testing.assert_close(states.flip(0), backwards, atol=1e-5, rtol=1e-5)
    assert torch.equal(states[0], states[4])
    assert torch.equal(states[1], states[3])
    assert not torch.allclose(states[0], states[1])


def test_a_sequence_that_is_kept_itself_and_one_that_is_a_part_of_it_are_right(packed_of: Any) -> None:
    packed = packed_of("llama")
    packed.keep([[5, 6, 7, 8]])
    assert_same_as_whole(packed, [[5, 6, 7, 8], [5, 6], [5], [5, 6, 9]])


def test_tokens_that_sequences_share_are_run_once(packed_of: Any) -> None:
    packed, text = packed_of("llama"), list(range(10, 30))
    packed.keep([text])
    before = packed.tokens_run
    packed.hidden([[*text, 40, 41], [*text, 40, 42], [*text, 43, 44], [*text, 40, 41]])
    assert packed.tokens_run - before == 5  # 40, 41, 42, 43, 44
    before = packed.tokens_run
    packed.hidden([[50, 51, 52], [50, 51, 53]])
    assert packed.tokens_run - before == 4


def test_a_model_that_is_run_plainly_runs_every_token(packed_of: Any) -> None:
    packed = packed_of("mamba")
    packed.keep([[5, 6, 7]])
    before = packed.tokens_run
    packed.hidden([[5, 6, 7, 8], [5, 6, 7, 9]])
    assert packed.tokens_run - before == 8


def test_keeping_what_is_kept_already_runs_nothing(packed_of: Any) -> None:
    packed = packed_of("llama")
    packed.keep([[5, 6, 7, 8], [9, 8]])
    before = packed.tokens_run
    packed.keep([[5, 6, 7, 8], [5, 6], [9, 8], []])
    assert packed.tokens_run == before


@pytest.mark.parametrize("keep_bytes", [0, 2000])
def test_without_room_for_all_prefixes_the_states_are_the_same(packed_of: Any, keep_bytes: int) -> None:
    packed, kept = packed_of("llama", room=Room(keep_bytes)), [[5, 6], [7, 8, 9], list(range(10, 30))]
    packed.keep(kept)
    before = packed.tokens_run
    assert_same_as_whole(packed, [[*p, 40] for p in kept])
    assert packed.tokens_run - before > 20  # the longest, at least, was run again


def test_models_are_frozen_and_states_carry_no_gradient() -> None:
    model = make_tiny("llama").requires_grad_(True).train()
    packed = PackedModel(model)
    (states,) = packed.hidden([[5, 6, 7]])
    assert not states.requires_grad
    assert not any(p.requires_grad for p in model.parameters())
    assert not model.training


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_pack_and_stay_close_to_whole_sequences(dtype: torch.dtype) -> None:
    packed = PackedModel(make_tiny("llama").to(dtype))
    ids = [[5, 6, 7, 8, end] for end in (20, 21, 22)]
    packed.keep([[5, 6, 7]])
    assert packed.allows("tree", 1)
    (states,) = packed.hidden(ids)
    for state, sequence in zip(states, ids, strict=True):
        assert state.dtype == dtype
        torch.testing.assert_close(state, whole(packed, sequence)[-1], atol=0.1, rtol=0.1)


class Deaf(nn.Module):
    """A decoder that silently ignores an argument, as one with ``**kwargs`` may."""

    def __init__(self, body: nn.Module, ignored: str) -> None:
        super().__init__()
        self.body, self.ignored = body, ignored
        self.embed_tokens = body.embed_tokens

    def forward(self, **inputs: Any) -> Any:
        if inputs.get("past_key_values") is not None:
            inputs.pop(self.ignored)
        return self.body(**inputs)


@pytest.mark.parametrize("ignored", ["position_ids", "attention_mask"])
def test_a_model_that_silently_ignores_positions_or_the_tree_is_found_out_and_run_plainly(
    ignored: str,
) -> None:
    model = make_tiny("llama")
    model.model = Deaf(model.model, ignored)
    packed = PackedModel(model)
    assert not packed.allows("tree", 1)
    packed.keep([[5, 6, 7]])
    assert_same_as_whole(packed, [[5, 6, 7, 8, 9], [5, 6, 7, 9, 8, 7]])


def test_a_decoder_reads_fewer_places_than_its_configuration_says() -> None:
    config = RobertaConfig(
        vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=128, is_decoder=True, pad_token_id=1,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = RobertaForCausalLM(config).eval()
    packed = PackedModel(model)
    ids = [[2 + i % 40 for i in range(n)] for n in (5, 70, 120)]  # positions begin behind the padding's: 126 fit
    for own, found in zip(ids, packed.hidden(ids)[0], strict=True):
        with torch.no_grad():
            whole = model(input_ids=torch.tensor([own])).logits[0, -1]
        torch.testing.assert_close(packed.head.logits(found[None])[0], whole, atol=1e-4, rtol=1e-4)

"""A row of sequences without padding gives each what it gets alone, on encoders whose attention can be replaced."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForMaskedLM
from transformers.models import auto

from hardprompt.data.tables import Example
from hardprompt.errors import InputError
from hardprompt.lms import masked
from hardprompt.lms.masked import MaskedLM
from hardprompt.lms.placing import search_copy
from hardprompt.tasks.classify.reward import Classification
from hardprompt.tasks.template import Template
from tests.conftest import BOS, EOS, PAD, VOCABULARY, make_tiny, make_tokenizer

MASK = 4
_SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 64, "max_position_embeddings": 64, "initializer_range": 0.3,
    "pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS, "cls_token_id": BOS, "sep_token_id": EOS,
}  # fmt: skip
ROWS = {
    "bert": {},
    "roberta": {},  # counts positions from behind the padding token
    "xlm-roberta": {},
    "electra": {"embedding_size": 32},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "modernbert": {"local_attention": 16, "global_attn_every_n_layers": 2},
    "eurobert": {"num_key_value_heads": 1, "mask_token_id": MASK},  # fewer keys than queries
}
PADDED = {
    "deberta-v2": {},
    "mpnet": {},
    "xlm": {"emb_dim": 32, "n_layers": 2, "n_heads": 2},
    # a token's embedding is of its neighbours, too
    "mobilebert": {"embedding_size": 16, "intra_bottleneck_size": 16, "num_feedforward_networks": 1},
    "fnet": {},  # mixes the padding in
}

sequences = st.lists(
    st.tuples(st.lists(st.integers(5, 60), max_size=14), st.integers(0, 14)), min_size=1, max_size=9
).map(lambda drawn: [[BOS, *ids[: at + 1], MASK, *ids[at + 1 :]] for ids, at in drawn])


def encoder(arch: str, changes: dict[str, Any]) -> Any:
    config = auto.CONFIG_MAPPING[arch](**{**_SIZES, **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModelForMaskedLM.from_config(config).eval()


def count_passes(lm: MaskedLM, passes: list[int]) -> None:
    def count(_module: Any, _inputs: Any, given: Any) -> None:
        passes.append(given["input_ids"].numel())

    lm.model.register_forward_pre_hook(count, with_kwargs=True)


@pytest.fixture(scope="module")
def encoders() -> dict[str, MaskedLM]:
    return {arch: MaskedLM(encoder(arch, changes), make_tokenizer()) for arch, changes in {**ROWS, **PADDED}.items()}


@pytest.mark.parametrize("arch", [*ROWS, *PADDED])
@pytest.mark.parametrize("spread", [0.02, 0.3])
def test_the_probe_tells_which_encoders_run_a_row(arch: str, spread: float, caplog: pytest.LogCaptureFixture) -> None:
    lm = MaskedLM(encoder(arch, {**ROWS, **PADDED}[arch] | {"initializer_range": spread}), make_tokenizer())
    assert (lm._unpadded is not None) is (arch in ROWS)
    assert ["slower" in said for said in caplog.messages] == [True] * (arch not in ROWS)
    assert lm.pads is (arch != "fnet")
    assert lm.tokens_run == lm.places_run == lm.logits_computed == 0  # the probes' do not count
    assert lm._unpadded is None or lm._unpadded.first == (PAD + 1 if "roberta" in arch else 0)
    # rounding in half precision hides a wrong place or a neighbour that is seen, so a copy is run as the original
    half, _ = search_copy(lm, "bfloat16")
    assert (half._short, half.pads) == (lm._short, lm.pads)
    assert (half._unpadded and half._unpadded.first) == (lm._unpadded and lm._unpadded.first)
    if arch == "fnet":  # its transform has no half precision
        return
    torch.testing.assert_close(
        half.score(["The film was<mask>.", "It<mask>"], [" good", " bad"]).softmax(-1),
        lm.score(["The film was<mask>.", "It<mask>"], [" good", " bad"]).softmax(-1), atol=0.1, rtol=0,
    )  # fmt: skip


def test_the_attention_of_a_model_is_its_own_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = encoder("bert", {})
    model.set_attn_implementation("eager")
    lm = MaskedLM(model, make_tokenizer())
    before = lm.score(["The film was<mask>.", "It<mask>"], [" good", " bad"])
    assert lm._unpadded is not None
    assert model.config._attn_implementation == "eager"
    monkeypatch.setattr(model, "forward", lambda **_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        lm.score(["It<mask>"], [" good"])
    assert model.config._attn_implementation == "eager"
    assert before.shape == (2, 2)


def test_attention_refuses_a_row_that_is_not_its_own() -> None:
    lm = MaskedLM(make_tiny("roberta"), make_tokenizer())
    assert lm._unpadded is not None
    with lm._unpadded.row([[5, 6], [7]]) as inputs, pytest.raises(ValueError, match="not that of this row"):
        lm.model(input_ids=inputs["input_ids"][:, :2], position_ids=inputs["position_ids"][:, :2])


@pytest.mark.parametrize("arch", [*ROWS, *PADDED])
@given(ids=sequences)
def test_each_sequence_gets_what_it_gets_alone(encoders: dict[str, MaskedLM], arch: str, ids: list[list[int]]) -> None:
    lm = encoders[arch]
    at = [sequence.index(MASK) for sequence in ids]
    tokens = [7, 8, 300]
    found = lm._log_probabilities(ids, at, tokens)
    for k, (sequence, place) in enumerate(zip(ids, at, strict=True)):
        with torch.no_grad():
            alone = lm.model(input_ids=torch.tensor([sequence])).logits[0, place].log_softmax(-1)[tokens]
        torch.testing.assert_close(found[k], alone, atol=2e-5, rtol=1e-5)


def test_a_row_holds_no_padding_and_is_cut_where_a_pass_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = MaskedLM(make_tiny("roberta"), make_tokenizer())
    lm._batch_tokens = 24
    assert lm._takes(range(30))  # which is tried once
    passes: list[int] = []
    lm.model.register_forward_pre_hook(
        lambda _m, _a, given: passes.append(given["input_ids"].numel()), with_kwargs=True
    )
    lengths = [3, 12, 5, 30, 9, 4, 7]
    lm._log_probabilities([[BOS, MASK, *[9] * (n - 2)] for n in lengths], [1] * len(lengths), [7])
    assert lm.places_run == lm.tokens_run == sum(lengths) == sum(passes)
    assert passes == [3 + 4 + 5 + 7, 9 + 12, 30]  # by length; one that is longer than a pass has its own


def test_sequences_beyond_a_window_are_padded(encoders: dict[str, MaskedLM]) -> None:
    lm = encoders["modernbert"]
    ids = [[BOS, MASK, *range(5, 5 + n)] for n in (3, 40, 5, 38)]
    before = lm.places_run
    found = lm._log_probabilities(ids, [1] * 4, [7])
    assert lm.places_run - before == 5 + 7 + 2 * 42  # the short ones share a row, the long ones a padded pass
    for k, sequence in enumerate(ids):
        with torch.no_grad():
            alone = lm.model(input_ids=torch.tensor([sequence])).logits[0, 1].log_softmax(-1)[[7]]
        torch.testing.assert_close(found[k], alone, atol=2e-5, rtol=1e-5)


def test_a_window_is_found_whatever_a_configuration_calls_it() -> None:
    """At the power of two tokens at which it shows: 8 see one another in ModernBERT's window of 16, 9 are not tried."""
    lm = MaskedLM(encoder("modernbert", ROWS["modernbert"]), make_tokenizer())
    assert [lm._takes(range(length)) for length in (1, 8, 16, 40)] == [True, True, False, False]
    half, _ = search_copy(lm, "bfloat16")
    assert [half._takes(range(length)) for length in (8, 16)] == [True, False]
    assert MaskedLM(make_tiny("roberta"), make_tokenizer())._takes(range(200))
    assert lm.places_run == lm.logits_computed == 0  # what was tried is no work for anybody


def test_a_pass_holds_no_more_logits_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = MaskedLM(make_tiny("roberta"), make_tokenizer())
    monkeypatch.setattr(masked, "_LOGITS", 2 * VOCABULARY)
    assert lm._takes(range(3))  # which is tried once
    passes: list[int] = []
    lm.model.register_forward_pre_hook(
        lambda _m, _a, given: passes.append(given["input_ids"].numel()), with_kwargs=True
    )
    lm._log_probabilities([[BOS, MASK, 9]] * 5, [1] * 5, [7])
    assert passes == [6, 6, 3]


def test_methods_with_gradients_refuse_a_model_that_padding_changes(encoders: dict[str, MaskedLM]) -> None:
    task = Classification(
        lm=encoders["fnet"], examples=[Example("It was good.", "a"), Example("It was bad.", "b")],
        template=Template("{text} {prompt} {mask}."), verbalizers={"a": " good", "b": " bad"}, reserve=8,
    )  # fmt: skip
    with pytest.raises(InputError, match="changes with padding"):
        task.objective()


def test_no_sequence_at_all() -> None:
    lm = MaskedLM(make_tiny("roberta"), make_tokenizer())
    assert lm.score([], [" good", " bad"]).shape == (0, 2)

"""Embeddings of sentences and tokens against plain passes, one text at a time, and with real weights."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import processors
from torch import Tensor
from transformers import FunnelConfig, FunnelModel

from hardprompt.errors import InputError, MissingExtra
from hardprompt.lms import embedding
from hardprompt.lms.embedding import Embedder, load_embedder
from hardprompt.lms.reach import text_limit
from tests.conftest import ENGLISH, PAD, VOCABULARY, Tiny, make_tokenizer

LINES = ENGLISH.strip().splitlines()
TEXTS = [*LINES[:5], "A good book", "The film was great.", "A good book", "The", *LINES[5:8]]


@pytest.fixture
def embedder(tiny_masked: Tiny) -> Embedder:
    return Embedder(tiny_masked.model.base_model, tiny_masked.tokenizer, name="tiny")


def plain(tiny: Tiny, text: str) -> Tensor:
    """The last states of a text that is run alone."""
    with torch.no_grad():
        states: Tensor = tiny.model.base_model(torch.tensor([tiny.tokenizer(text)["input_ids"]])).last_hidden_state[0]
    return states


def test_each_text_gets_what_it_gets_alone(embedder: Embedder, tiny_masked: Tiny) -> None:
    sentences, tokens = embedder.sentences(TEXTS), embedder.tokens(TEXTS)
    assert sentences.shape == (len(TEXTS), 32)
    for text, sentence, own in zip(TEXTS, sentences, tokens, strict=True):
        states = plain(tiny_masked, text)
        mean = sum(states) / len(states)
        torch.testing.assert_close(sentence, mean / mean.square().sum().sqrt(), atol=1e-5, rtol=0)
        assert len(own) == len(tiny_masked.tokenizer(text, add_special_tokens=False)["input_ids"])
        for vector, state in zip(own, states[1:], strict=True):  # the tiny tokenizer opens a text with <s>
            torch.testing.assert_close(vector, state / state.square().sum().sqrt(), atol=1e-5, rtol=0)


@given(texts=st.lists(st.one_of(st.sampled_from(TEXTS), st.text(max_size=30)), max_size=8))
def test_vectors_have_length_one_and_order_does_not_matter(embedder: Embedder, texts: list[str]) -> None:
    sentences, tokens = embedder.sentences(texts), embedder.tokens(texts)
    torch.testing.assert_close(sentences.norm(dim=-1), torch.ones(len(texts)))
    for own in tokens:
        torch.testing.assert_close(own.norm(dim=-1), torch.ones(len(own)))
    fresh = Embedder(embedder.model, embedder.tokenizer, name="fresh")
    torch.testing.assert_close(fresh.sentences(texts[::-1]).flip(0), sentences, atol=1e-5, rtol=0)


def test_an_empty_text_has_a_sentence_and_no_token(embedder: Embedder, tiny_masked: Tiny) -> None:
    sentence = plain(tiny_masked, "")[0]
    torch.testing.assert_close(embedder.sentences([""])[0], sentence / sentence.norm(), atol=1e-5, rtol=0)
    assert embedder.tokens([""])[0].shape == (0, 32)
    assert embedder.sentences([]).shape == (0, 32)
    assert embedder.tokens([]) == []


def test_where_nothing_opens_a_text_an_empty_one_is_all_zeros(tiny_masked: Tiny) -> None:
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    bare = Embedder(tiny_masked.model.base_model, tokenizer, name="bare")
    assert bare.sentences(["", " good"]).norm(dim=-1).tolist() == pytest.approx([0.0, 1.0])
    assert [len(own) for own in bare.tokens(["", " good"])] == [0, 1]


def test_a_text_that_an_encoder_cannot_read_is_one_line(tiny_masked: Tiny) -> None:
    """Funnel pools neighbours, of which a text of one token has none; its own forward fails."""
    config = FunnelConfig(
        vocab_size=VOCABULARY, block_sizes=[1, 1], d_model=32, n_head=2, d_head=16, d_inner=32, num_decoder_layers=1
    )
    model = FunnelModel(config).eval()
    funnel = Embedder(model, tiny_masked.tokenizer, name="funnel")
    assert len(tiny_masked.tokenizer("")["input_ids"]) == 1
    with pytest.raises(RuntimeError):
        model(input_ids=torch.tensor([[0]]))
    with pytest.raises(InputError, match=r"^the encoder cannot read '', which has 1 token: [^\n]+\.$"):
        funnel.sentences(["The film was good.", ""])


def test_a_long_text_is_cut_where_the_model_ends(embedder: Embedder, tiny_masked: Tiny) -> None:
    long = " ".join(LINES)
    ids = tiny_masked.tokenizer(long)["input_ids"]
    assert len(ids) > 300
    assert tiny_masked.model.config.max_position_embeddings == 256 + PAD + 1  # places begin behind the padding token's
    assert text_limit(embedder.model, embedder.tokenizer) == 256
    assert embedder.tokens([long])[0].shape == (255, 32)
    with torch.no_grad():
        states = embedder.model(torch.tensor([ids[:256]])).last_hidden_state[0]
    torch.testing.assert_close(embedder.tokens([long])[0][-1], states[-1] / states[-1].norm(), atol=1e-5, rtol=0)


def test_a_text_is_run_once_for_both(embedder: Embedder) -> None:
    embedder.tokens(TEXTS)
    embedder.sentences(TEXTS[::-1])
    assert embedder.texts_run == len(set(TEXTS)) < len(TEXTS)


def test_memory_is_bounded_and_the_oldest_text_goes_first(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = embedder.sentences(TEXTS)
    size = sum(part.nbytes for vectors in embedder._known.values() for part in vectors)
    assert embedder._bytes == size
    monkeypatch.setattr(embedding, "_KEPT", size // 2)
    monkeypatch.setattr(embedding, "_CHUNK", 3)
    small = Embedder(embedder.model, embedder.tokenizer, name="small")
    torch.testing.assert_close(small.sentences(TEXTS), whole, atol=1e-5, rtol=0)
    kept = sum(part.nbytes for vectors in small._known.values() for part in vectors)
    assert 0 < small._bytes == kept <= size // 2
    assert TEXTS[0] not in small._known
    assert TEXTS[-1] in small._known
    run = small.texts_run
    small.tokens([TEXTS[-1]])
    assert small.texts_run == run


@given(order=st.permutations(TEXTS), few=st.integers(1, len(TEXTS)))
def test_a_text_has_the_same_bits_whatever_it_is_asked_with(order: list[str], few: int, embedder: Embedder) -> None:
    fresh = Embedder(embedder.model, embedder.tokenizer, name="fresh")
    alone = {t: Embedder(embedder.model, embedder.tokenizer, name="one").sentences([t])[0] for t in order[:few]}
    for text, vector in zip(order[:few], fresh.sentences(order[:few]), strict=True):
        assert torch.equal(vector, alone[text])


def test_a_folder_is_loaded_without_its_head(tmp_path: Path, tiny_masked: Tiny, embedder: Embedder) -> None:
    tiny_masked.model.save_pretrained(tmp_path)
    tiny_masked.tokenizer.save_pretrained(tmp_path)
    loaded = load_embedder(str(tmp_path))
    assert loaded.name == str(tmp_path)
    torch.testing.assert_close(loaded.sentences(TEXTS), embedder.sentences(TEXTS), atol=1e-5, rtol=0)


def test_what_is_no_encoder_is_refused(tmp_path: Path, tiny_folder: Path) -> None:
    with pytest.raises(InputError, match=r"is a causal language model \(llama.*embedded:minilm"):
        load_embedder(str(tiny_folder))
    with pytest.raises(InputError, match="Did you mean 'minilm'"):
        load_embedder("embedded:minilmm")
    with pytest.raises(InputError, match=r"a folder without config\.json"):
        load_embedder(str(tmp_path))


def test_weights_that_could_run_code_are_refused(tmp_path: Path, tiny_masked: Tiny) -> None:
    tiny_masked.model.config.save_pretrained(tmp_path)
    tiny_masked.tokenizer.save_pretrained(tmp_path)
    torch.save(tiny_masked.model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="could not be loaded"):
        load_embedder(str(tmp_path))


def test_real_weights_know_what_belongs_together() -> None:
    try:
        minilm = load_embedder("embedded:minilm")
    except MissingExtra as error:
        pytest.skip(str(error))
    one, same, other = minilm.sentences(
        ["The waiter was rude to us.", "Our waiter was very impolite.", "Stock markets fell on Tuesday."]
    )
    assert float(one @ same) > 0.6
    assert float(one @ other) < 0.2
    assert text_limit(minilm.model, minilm.tokenizer) == 512
    assert [len(t) for t in minilm.tokens(["", "good food"])] == [0, 2]

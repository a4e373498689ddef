"""Tokenizers that do not fit their model, or lack what others have: a right value, or one sentence at load."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken
from transformers import AutoModelForSequenceClassification, ByT5Tokenizer

from hardprompt.errors import InputError
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.embedding import load_embedder
from hardprompt.lms.image_text import load_image_text
from hardprompt.lms.load import load_causal, load_task_lm
from hardprompt.lms.tokens import truncate
from hardprompt.tasks.restyle.styles import named_style
from tests.conftest import VOCABULARY, make_tiny, make_tokenizer
from tests.contract.test_image_text import save_tiny

BYTES = ByT5Tokenizer()  # one token for each byte, of which it does not say where they stand


def grown(*tokens: Any) -> Any:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(list(tokens))
    return tokenizer


def saved(folder: Path, model: Any, tokenizer: Any) -> str:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def classifier() -> Any:
    config = make_tiny("roberta").config
    config.update({"num_labels": 2})
    return AutoModelForSequenceClassification.from_config(config)


@pytest.mark.parametrize(
    ("model", "load"),
    [
        (lambda: make_tiny("llama"), load_causal),
        (lambda: make_tiny("roberta"), load_task_lm),
        (lambda: make_tiny("roberta"), load_embedder),
        (classifier, lambda name: named_style(name, "0")),
        (None, load_image_text),
    ],
    ids=["causal", "masked", "embedder", "classifier", "towers"],
)
def test_a_token_without_a_row_is_refused_at_load(
    model: Callable[[], Any] | None, load: Callable[[str], Any], tmp_path: Path
) -> None:
    tokenizer = grown("zzz", "yyy")
    name = saved(tmp_path, model(), tokenizer) if model else str(save_tiny("clip", tmp_path, tokenizer))
    with pytest.raises(InputError) as caught:
        load(name)
    said = f"has {VOCABULARY + 2} tokens and the model has rows for {VOCABULARY}: there is none for 'zzz', number 450"
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_special_token_without_a_row_is_refused_where_a_text_holds_it(tmp_path: Path) -> None:
    """As Gemma 3's tokenizer knows one of pictures that its models of texts have not."""
    picture = AddedToken("<picture>", special=True)
    for arch in ("llama", "roberta"):
        model, folder = make_tiny(arch), tmp_path / arch
        lm: Any = load_task_lm(saved(folder, model, grown(picture)))
        plain: Any = load_task_lm(saved(folder, model, make_tokenizer()))
        texts, choices = ["The film was" + lm.blank, "It is" + lm.blank], [" good", " not good"]
        assert torch.equal(lm.score(texts, choices), plain.score(texts, choices))
        for contexts, options in (([f"A <picture>{lm.blank}"], choices), (texts, [" good", "<picture>"])):
            with pytest.raises(InputError, match=r"'<picture>', which the (task )?model"):
                lm.score(contexts, options)


@given(text=st.text(max_size=12), tokens=st.integers(0, 30))
def test_a_text_is_cut_without_offsets_at_a_whole_character(text: str, tokens: int) -> None:
    ends = [n for n in range(len(text) + 1) if len(text[:n].encode(errors="replace")) <= tokens]
    assert truncate(BYTES, text, tokens) == text[: ends[-1]]


def test_a_tokenizer_of_bytes_is_read_as_any_other(tmp_path: Path) -> None:
    lm = CausalLM(*load_causal(saved(tmp_path, make_tiny("llama"), BYTES)))
    texts, choices = ["The film was", "This film is"], [" good", " bad"]
    expected = torch.zeros(2, 2)
    for i, text in enumerate(texts):
        for j, choice in enumerate(choices):
            # 3 is the first byte's number; nothing opens a text
            ids = [byte + 3 for byte in (text + choice).encode()]
            with torch.no_grad():
                log_p = lm.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
            expected[i, j] = sum(log_p[k - 1, ids[k]] for k in range(len(text), len(ids)))
    torch.testing.assert_close(lm.score(texts, choices).log_softmax(-1), expected.log_softmax(-1), atol=1e-4, rtol=0)
    assert lm.truncate("good film", 6) == "good f"
    assert lm.perplexity(["good film"]).isfinite().all()


def test_towers_need_a_padding_token(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.pad_token = None
    with pytest.raises(InputError, match="has no padding token"):
        load_image_text(str(save_tiny("siglip", tmp_path, tokenizer)))


def test_a_masked_model_needs_a_mask(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.mask_token = None
    with pytest.raises(InputError, match=r"is masked \(roberta\), but its tokenizer has no mask token"):
        load_task_lm(saved(tmp_path, make_tiny("roberta"), tokenizer))


def test_what_a_tokenizer_need_not_have(tmp_path: Path) -> None:
    """An end, an unknown token, and a beginning."""
    tokenizer = make_tokenizer()
    tokenizer.eos_token = tokenizer.unk_token = tokenizer.pad_token = tokenizer.bos_token = None
    lm = CausalLM(*load_causal(saved(tmp_path, make_tiny("llama"), tokenizer)))
    assert lm.score(["The film was"], [" good", " bad"]).isfinite().all()
    assert lm.perplexity(["It is"]).isfinite().all()
    assert len(lm.generate(["The film"], longest=3)[0]) == 1

"""A model reads as many tokens as its own plain forward takes, and not one more."""

from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedTokenizerFast

from hardprompt.errors import InputError
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.embedding import Embedder
from hardprompt.lms.masked import MaskedLM
from hardprompt.lms.reach import reach
from tests.conftest import make_tiny
from tests.contract.test_architectures import built

TEXT = "The film was good and the food was bad. " * 40
FROM_PADDING = ("Camembert", "Data2VecText", "Esm", "IBert", "Longformer", "MPNet", "Roberta", "RobertaPreLayerNorm")
FROM_ZERO = ("Bert", "Bart", "DistilBert", "Electra")
DECODERS = ("Camembert", "XLMRoberta", "Bert", "GPT2", "OPT", "BioGpt", "Mpt")


def reads(model: Any, tokens: int) -> bool:
    """Whether the model's own forward takes a text of so many tokens, none of which is its padding."""
    ids = [i for i in range(10, 410) if i != model.config.pad_token_id][:tokens]
    try:
        model(input_ids=torch.tensor([ids]))
    except (IndexError, RuntimeError):
        return False
    return True


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "auto"),
    [
        *((name, AutoModelForMaskedLM) for name in (*FROM_PADDING, *FROM_ZERO)),
        *((name, AutoModelForCausalLM) for name in DECODERS),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_the_last_place_is_read_and_the_next_is_not(name: str, auto: Any) -> None:
    model = built(getattr(transformers, f"{name}Config"), auto, is_decoder=auto is AutoModelForCausalLM)
    most = reach(model)
    assert most is not None
    assert reads(model, most)
    assert not reads(model, most + 1)


def test_xmod_counts_from_behind_its_padding_too() -> None:
    config = transformers.XmodConfig(
        vocab_size=450, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=20, default_language="en_XX",
    )  # fmt: skip
    model = AutoModelForMaskedLM.from_config(config).eval()
    assert reach(model) == 18
    assert reads(model, 18)
    assert not reads(model, 19)


def test_a_model_without_a_table_reads_what_it_says() -> None:
    assert reach(make_tiny("llama")) == 256
    assert reach(make_tiny("mamba")) is None


def test_a_model_with_a_bias_for_each_distance_reads_as_far_as_it_goes(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    lm = CausalLM(built(transformers.MptConfig, AutoModelForCausalLM), tiny_tokenizer)
    assert lm.context_length == 128
    assert lm.perplexity([TEXT]).isfinite().all()
    texts = [lm.truncate(TEXT, 127 - i) for i in range(3)]
    found = lm.score(texts, [" good", " bad"])
    choices = [tiny_tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in (" good", " bad")]
    plain = torch.cat([lm.model(torch.tensor([tiny_tokenizer(text)["input_ids"]])).logits[:, -1] for text in texts])
    torch.testing.assert_close(found.softmax(-1), plain[:, choices].softmax(-1), atol=1e-5, rtol=1e-4)
    with pytest.raises(InputError, match="the task model reads 128"):
        lm.generate([TEXT], longest=20)


def test_whoever_runs_a_model_goes_by_it(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    """The tokenizer says nothing of a limit here, and both texts are far beyond it."""
    masked = MaskedLM(make_tiny("roberta", max_position_embeddings=43), tiny_tokenizer)
    assert masked.context_length == 40
    room = 40 - masked.count("") - 1  # the mask
    assert masked.score([masked.truncate(TEXT, room) + "<mask>"], [" good", " bad"]).isfinite().all()
    embedder = Embedder(masked.model.base_model, tiny_tokenizer, name="tiny")
    assert embedder.sentences([TEXT]).isfinite().all()
    assert len(embedder.tokens([TEXT])[0]) == 40 - masked.count("")
    decoder = built(transformers.RobertaConfig, AutoModelForCausalLM, is_decoder=True)
    causal = CausalLM(decoder, tiny_tokenizer)
    assert causal.context_length == 125
    assert causal.perplexity([TEXT]).isfinite().all()
    assert causal.over(decoder).context_length == 125

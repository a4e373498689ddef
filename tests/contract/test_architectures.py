"""Every causal and masked architecture of transformers that can be built small is scored as its own forward says."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

from hardprompt.errors import InputError
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.masked import MaskedLM
from hardprompt.lms.quiet import quiet
from tests.conftest import BOS, EOS, PAD, VOCABULARY, make_tokenizer

MOST = 20_000_000  # parameters
CONTEXTS = ("The film was", "The food in the house by the sea was", "It is")
CHOICES = (" good", " bad", " not good", " great story about")
SIZES = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embedding_size", "d_embed"), 32),
    **dict.fromkeys(("input_embedding_size", "output_embedding_size", "word_embed_proj_dim", "d_inner"), 32),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("num_encoder_layers", "num_decoder_layers", "num_key_value_heads", "num_experts_per_tok"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads"), 4),
    **dict.fromkeys(("decoder_attention_heads", "num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "d_ff", "encoder_ffn_dim", "decoder_ffn_dim", "hidden_dim"), 48),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"), 128),
    **dict.fromkeys(("n_group", "topk_group"), 1),
    **{"vocab_size": VOCABULARY, "head_dim": 8, "moe_intermediate_size": 16, "moe_num_experts": 4, "moe_k": 2},
    **{"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD},
    # what one forward would not show at its default
    **{"lm_head_multiplier": 0.05, "logit_scale": 0.25, "final_logit_softcapping": 3.0, "logits_scaling": 4.0},
}


def config_of(kind: Any) -> Any:
    """A configuration of that class with as many of the sizes as it knows, and so its parts."""
    known = {*inspect.signature(kind.__init__).parameters}
    try:
        known |= {*kind().to_dict(), *kind.attribute_map}
    except Exception:  # it has no defaults
        known |= set()
    parts = {}
    for name, part in kind.sub_configs.items():
        if part is not transformers.AutoConfig:
            parts[name] = config_of(part).to_dict()
    return kind(**{name: size for name, size in SIZES.items() if name in known}, **parts)


def built(kind: Any, auto: Any, **changes: Any) -> Any:
    """A small random model of that configuration that its own forward runs, or None."""
    generator = torch.Generator().manual_seed(0)
    try:
        config = config_of(kind)
        config.update(changes)
        with torch.device("meta"):
            if sum(p.numel() for p in auto.from_config(config).parameters()) > MOST:
                return None
        model = auto.from_config(config).eval().requires_grad_(False)
        for p in model.parameters():
            if p.ndim >= 2:  # far from zero, so that attention and positions make a visible difference
                p.copy_(torch.randn(p.shape, generator=generator) / 4)
        return model if bool(model(input_ids=torch.arange(5, 13)[None]).logits.isfinite().any()) else None
    except Exception:  # it needs more than sizes, or a package that is not there
        return None


def models(mapping: Any, auto: Any) -> Iterator[tuple[str, Any]]:
    for kind in mapping:
        causal = mapping is MODEL_FOR_CAUSAL_LM_MAPPING and kind in MODEL_FOR_MASKED_LM_MAPPING
        with quiet(), torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            model = built(kind, auto, **({"is_decoder": True} if causal else {}))
        if model is not None:
            yield kind.__name__, model


@torch.no_grad()
def continued(model: Any, tokenizer: Any) -> Tensor:
    """Log-probability of each choice by a plain forward of context and choice."""
    scores = torch.zeros(len(CONTEXTS), len(CHOICES))
    for i, context in enumerate(CONTEXTS):
        for j, choice in enumerate(CHOICES):
            begin, end = tokenizer(context)["input_ids"], tokenizer(choice, add_special_tokens=False)["input_ids"]
            log_p = model(input_ids=torch.tensor([begin + end])).logits[0].float().log_softmax(-1)
            scores[i, j] = sum(log_p[len(begin) - 1 + k, token] for k, token in enumerate(end))
    return scores.log_softmax(-1)


@torch.no_grad()
def filled(model: Any, tokenizer: Any) -> Tensor:
    """Log-probability of each choice by a plain forward for each of its tokens, left to right."""
    scores, mask = torch.zeros(len(CONTEXTS), len(CHOICES)), tokenizer.mask_token_id
    for i, context in enumerate(CONTEXTS):
        for j, choice in enumerate(CHOICES):
            begin, end = tokenizer(context)["input_ids"], tokenizer(choice, add_special_tokens=False)["input_ids"]
            close = tokenizer(".", add_special_tokens=False)["input_ids"]
            for k, token in enumerate(end):
                ids = [*begin, *end[:k], *[mask] * (len(end) - k), *close]
                scores[i, j] += model(input_ids=torch.tensor([ids])).logits[0, len(begin) + k].log_softmax(-1)[token]
    return scores.log_softmax(-1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", ["causal", "masked"])
def test_each_is_scored_as_its_own_forward_says_or_is_refused(way: str) -> None:
    tokenizer, right = make_tokenizer(), 0
    wrong: list[tuple[str, Any]] = []
    refused: list[tuple[str, str]] = []
    mapping = MODEL_FOR_CAUSAL_LM_MAPPING if way == "causal" else MODEL_FOR_MASKED_LM_MAPPING
    auto = transformers.AutoModelForCausalLM if way == "causal" else transformers.AutoModelForMaskedLM
    end = "" if way == "causal" else "<mask>."
    for name, model in models(mapping, auto):
        expected = continued(model, tokenizer) if way == "causal" else filled(model, tokenizer)
        try:
            lm: Any = CausalLM(model, tokenizer) if way == "causal" else MaskedLM(model, tokenizer)
            lm.prepare(CONTEXTS[:2])
            scores = lm.score([context + end for context in CONTEXTS], CHOICES).log_softmax(-1)
        except InputError as error:
            refused.append((name, str(error)))
            continue
        except Exception as error:
            wrong.append((name, repr(error)[:200]))
            continue
        gap = float((scores - expected).abs().max())
        right += gap <= 1e-4
        if not gap <= 1e-4:
            wrong.append((name, gap))
    assert not wrong
    assert not [said for _, said in refused if "\n" in said]
    assert right >= (120 if way == "causal" else 35), (right, refused)
    assert len(refused) <= 8, refused

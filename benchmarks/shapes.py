"""Models of a published shape with random weights: right for timing, never for a result."""

import copy
from typing import Any

from hardprompt.models import load_causal


def masked_model(tokenizer: Any, *, large: bool) -> tuple[Any, Any]:
    """RoBERTa-base's or RoBERTa-large's shape, with the tokenizer of another model and a mask token."""
    from transformers import RobertaConfig, RobertaForMaskedLM

    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_special_tokens({"mask_token": "<mask>"})
    tokenizer.model_max_length = 512
    size = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    config = RobertaConfig(vocab_size=50_265, max_position_embeddings=514, **(size if large else {}))
    return RobertaForMaskedLM(config).eval(), tokenizer


def gpu_models() -> tuple[Any, Any, Any]:
    """OPT-125M's shape as policy LM, OPT-1.3B's as task model, and a real tokenizer that both can take."""
    from transformers import OPTConfig, OPTForCausalLM

    _, tokenizer = load_causal("embedded:smollm2")
    small = OPTConfig(vocab_size=50_272)
    large = OPTConfig(
        vocab_size=50_272, hidden_size=2048, ffn_dim=8192, num_hidden_layers=24, num_attention_heads=32,
        word_embed_proj_dim=2048,
    )  # fmt: skip
    return OPTForCausalLM(small).eval().to("cuda"), tokenizer, OPTForCausalLM(large).eval().to("cuda")

"""Models of a published shape with random weights: right for timing, never for a result."""

import copy
from typing import Any

from hardprompt.lms.load import load_causal


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


def tiny(vocabulary: int) -> tuple[Any, Any]:
    """A Llama of two small layers over a byte-level vocabulary of that size learnt from the film reviews."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from hardprompt.data.films import films

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=["<s>"], initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator((text for text, _, _ in films()), trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="<s>")
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        bos_token_id=0, eos_token_id=0, initializer_range=0.3,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval(), tokenizer

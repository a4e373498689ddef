"""A model in a GGUF file is what the file says, whatever lies beside it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFWriter
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from hardprompt.lms.load import load_causal
from tests import kinds
from tests.conftest import SPECIAL

WIDTH, INNER, TEXT = 32, 64, "The film was good"
TENSORS = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
    **{
        f"blk.0.{short}": f"model.layers.0.{long}"
        for short, long in {
            "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
            "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
            "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
        }.items()
    },
}  # fmt: skip


def write(file: Path, tokenizer: PreTrainedTokenizerFast, model: Any) -> None:
    """A Llama with one head and its byte-level tokenizer, as llama.cpp keeps them."""
    said = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(said["vocab"], key=said["vocab"].get)
    writer = GGUFWriter(file, "llama")
    writer.add_block_count(1)
    writer.add_context_length(256)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(model.config.rms_norm_eps)
    writer.add_rope_dimension_count(WIDTH)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in said["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(3)
    weights = model.state_dict()
    for short, long in TENSORS.items():
        weight = weights[f"{long}.weight"]
        if short.endswith(("attn_q", "attn_k")):  # llama.cpp turns neighbours, transformers one half with the other
            weight = weight.unflatten(0, (2, WIDTH // 2)).transpose(0, 1).flatten(0, 1)
        writer.add_tensor(f"{short}.weight", weight.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("links", [True, False])
def test_what_lies_beside_a_gguf_file_is_not_read(
    links: bool, tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARDPROMPT_CACHE", str(tmp_path / "cache"))
    if not links:

        def refuse(*_: Any) -> None:
            raise OSError("no links here")

        monkeypatch.setattr(Path, "symlink_to", refuse)
    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer), hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=1,
        num_attention_heads=1, num_key_value_heads=1, initializer_range=0.3,
    )  # fmt: skip
    plain = LlamaForCausalLM(config).eval().requires_grad_(False)
    folder = tmp_path / "theirs"
    kinds.sentencepiece("first").save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "gpt2", "bos_token_id": 5}')
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [*range(100, 450)]}))
    (folder / "special_tokens_map.json").write_text('{"bos_token": "</s>"}')
    (folder / "added_tokens.json").write_text('{"good": 450}')
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "some/model"}')
    write(folder / "x.gguf", tiny_tokenizer, plain)
    model, tokenizer = load_causal(str(folder / "x.gguf"))
    ids = tiny_tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    assert tokenizer(TEXT, add_special_tokens=False)["input_ids"] == ids
    assert tokenizer.bos_token == "<s>"
    assert model.generation_config.eos_token_id == 1
    torch.testing.assert_close(model(input_ids=torch.tensor([ids])).logits, plain(input_ids=torch.tensor([ids])).logits)
    kept = [file for file in (tmp_path / "cache").rglob("*.json") if str(tmp_path) in file.read_text()]
    assert not kept  # nothing says where it was made

"""What a stranger writes into a model's files beside its weights fetches and runs nothing, and changes no number."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from hardprompt.errors import InputError
from hardprompt.lms.load import load_causal
from hardprompt.lms.roles import ROLES, check_name
from tests.conftest import make_tiny

KERNEL = "stranger/kernel"
TAIL = [5, 40, 7, 300, 11]
CODE = "from pathlib import Path\nPath('ran').touch()\ndef generate(model, **_): pass\n"


def saved(folder: Path, tokenizer: PreTrainedTokenizerFast, arch: str = "llama") -> Any:
    """A model, and its folder as its makers left it."""
    model = make_tiny(arch)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


@pytest.mark.parametrize(
    ("arch", "where", "more"),
    [
        ("llama", (), {"attn_implementation": KERNEL}),
        ("llama", (), {"_attn_implementation": f"{KERNEL}@main:forward"}),
        ("llama", (), {"attn_implementation": {"": KERNEL}, "_experts_implementation": KERNEL}),
        ("llama", (), {"_attn_implementation": "flash_attention_2", "attn_implementation": "eager"}),
        ("llama", (), {"configuration_files": ["config.1.0.json"]}),
        ("llama", (), {"transformers_weights": "adapter_model.bin"}),
        ("gemma3-multimodal", ("text_config",), {"_attn_implementation": KERNEL}),
        ("gemma3-multimodal", ("vision_config",), {"attn_implementation": KERNEL, "experts_implementation": KERNEL}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple | dict) else str(value),
)
def test_code_that_a_configuration_names_is_not_asked_for(
    arch: str, where: tuple[str, ...], more: dict[str, Any], tmp_path: Path,
    tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    model = saved(tmp_path, tiny_tokenizer, arch)
    config = json.loads(Path("config.json").read_text())
    own = config
    for name in where:
        own = own[name]
    own.update(more)
    config["auto_map"] = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}
    Path("config.json").write_text(json.dumps(config))
    Path("config.1.0.json").write_text(json.dumps({**config, "attn_implementation": KERNEL}))
    Path("adapter_model.bin").write_bytes(b"a pickle")
    Path("generation_config.json").write_text(json.dumps({"custom_generate": KERNEL}))
    Path("custom_generate").mkdir()
    for file in ("code.py", "custom_generate/generate.py"):
        Path(file).write_text(CODE)
    ids = torch.tensor([TAIL])
    with torch.no_grad():
        found = load_causal(str(tmp_path))[0](input_ids=ids).logits
        assert torch.allclose(found, model(input_ids=ids).logits, atol=1e-5)
    assert not Path("ran").exists()


@pytest.mark.parametrize("named", [False, True], ids=["by its name", "by config.json"])
@pytest.mark.parametrize("file", ["weights.bin", "../model.safetensors", "/model.safetensors", "C:model.safetensors"])
def test_an_index_of_weights_names_safetensors_files_in_its_own_folder(
    file: str, named: bool, tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    weights = saved(folder, tiny_tokenizer).state_dict()
    read: list[Any] = []
    monkeypatch.setattr(torch, "load", lambda *given, **_: read.append(given))  # the reader of pickles
    whole = (folder / "model.safetensors").rename(folder / "part.safetensors")
    index = "x.safetensors.index.json" if named else "model.safetensors.index.json"

    def write(shard: str) -> None:
        (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(weights, shard)}))

    write("part.safetensors")
    if named:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "transformers_weights": index}))
    assert load_causal(str(folder))[0].state_dict().keys() == weights.keys()
    there = (tmp_path if file.startswith("/") else folder) / file.removeprefix("/")
    there.write_bytes(whole.read_bytes())
    shard = str(there) if file.startswith("/") else file
    write(shard)
    with pytest.raises(InputError, match=rf"its weights in '{shard}', as {index} says; only \.safetensors files in"):
        load_causal(str(folder))
    assert not read


def test_an_adapter_beside_a_model_is_refused(tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    """Beside a whole model, and alone as peft leaves it."""
    model, alone = tmp_path / "model", tmp_path / "alone"
    saved(model, tiny_tokenizer)
    for folder in (model, alone):
        folder.mkdir(exist_ok=True)
        (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "some/model"}')
        with pytest.raises(InputError, match=r"^judge '.*' holds an adapter \(adapter_config.*merge_and_unload"):
            check_name(str(folder), ROLES["causal model"], "judge")
        with pytest.raises(InputError, match="holds an adapter"):
            load_causal(str(folder))


def test_a_part_of_a_pipeline_may_not_ask_for_either(tmp_path: Path) -> None:
    part = tmp_path / "text_encoder"
    part.mkdir()
    (tmp_path / "model_index.json").write_text('{"text_encoder": ["transformers", "CLIPTextModel"]}')
    (part / "config.json").write_text('{"attn_implementation": "sdpa"}')
    check_name(str(tmp_path), ROLES["pipeline"])
    (part / "config.json").write_text(json.dumps({"inner": [{"attn_implementation": KERNEL}]}))
    with pytest.raises(InputError, match=r"has attn_implementation in text_encoder/config\.json"):
        check_name(str(tmp_path), ROLES["pipeline"])
    (part / "config.json").write_text("{}")
    for name in ("vocab.json", "tokenizer.json", "added_tokens.json"):  # words, whatever they are
        (part / name).write_text(
            json.dumps({"attn_implementation": 5, "model": {"vocab": {"transformers_weights": 6}}})
        )
    check_name(str(tmp_path), ROLES["pipeline"])
    for name in ("scheduler_config.json", "config.4.0.json"):  # the second stands for config.json, if that says so
        (part / name).write_text(json.dumps({"attn_implementation": KERNEL}))
        with pytest.raises(InputError, match=rf"has attn_implementation in text_encoder/{name}"):
            check_name(str(tmp_path), ROLES["pipeline"])
        (part / name).unlink()
    index = part / "model.fp16.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "one.safetensors", "b": "parts/two.safetensors"}}')
    check_name(str(tmp_path), ROLES["pipeline"])
    for text in ('{"weight_map": {"a": "one.safetensors", "b": "two.bin"}}', '{"weight_map": 1}', "[", "[]"):
        index.write_text(text)
        with pytest.raises(InputError, match=r"weights.* text_encoder/model\.fp16|text_encoder/model\.fp16.* weights"):
            check_name(str(tmp_path), ROLES["pipeline"])
    (part / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="holds an adapter"):
        check_name(str(tmp_path), ROLES["pipeline"])

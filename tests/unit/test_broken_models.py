"""Files of models that are cut, false or of the wrong kind: one sentence each, nothing run or made up."""

import contextlib
import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFReader, GGUFWriter
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from hardprompt.cli.main import main
from hardprompt.errors import InputError
from hardprompt.lms.gguf import check_header
from hardprompt.lms.load import load_causal

WEIGHTS = "model.safetensors"


def refusal(attempt: Callable[[], Any]) -> str | None:
    """What is said where something is refused."""
    try:
        attempt()
    except InputError as error:
        return str(error)
    return None


def header(values: bytes = b"", *, tensors: int = 0, count: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, count) + values


def value(name: bytes, kind: int, content: bytes) -> bytes:
    return struct.pack("<Q", len(name)) + name + struct.pack("<I", kind) + content


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small file as gguf itself writes it, with values of every kind."""
    file = tmp_path_factory.mktemp("gguf") / "whole.gguf"
    writer = GGUFWriter(file, "llama")
    writer.add_block_count(1)
    writer.add_float32("a.float", 0.5)
    writer.add_array("a.words", ["one", "two"])
    writer.add_array("a.numbers", [1, 2, 3])
    writer.add_tensor("weight", torch.ones(4, 8).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file.read_bytes()


FALSE = {
    "nothing": (b"", "is not a GGUF file"),
    "another": (b"GGML" + bytes(40), "is not a GGUF file"),
    "magic alone": (b"GGUF", "is damaged: its header goes on for 4 bytes where the file has 0"),
    "version": (header(version=77), "of version 77, and 2 or 3"),
    "values": (header(count=1 << 60), "is damaged"),
    "tensors": (header(tensors=1 << 60), "is damaged"),
    "name": (header(struct.pack("<Q", 1 << 62), count=1), "goes on for 4611686018427387904 bytes"),
    "type": (header(value(b"a", 99, b""), count=1), "unknown type 99"),
    "array": (header(value(b"a", 9, struct.pack("<IQ", 4, 1 << 60)), count=1), "goes on for"),
    "texts": (header(value(b"a", 9, struct.pack("<IQ", 8, 1 << 60)), count=1), "goes on for"),
    "arrays in arrays": (header(value(b"a", 9, struct.pack("<IQ", 9, 1) * 12), count=1), "unknown type 9"),
    "layers": (header(value(b"llama.block_count", 4, struct.pack("<I", 1 << 30)), count=1), "1073741824 layers in 0"),
    "dimensions": (header(struct.pack("<QI", 0, 1 << 20), tensors=1), "a tensor of 1048576 dimensions"),
}


@pytest.mark.parametrize("kind", FALSE)
def test_a_false_header_is_one_line(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HARDPROMPT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "x.gguf").write_bytes(FALSE[kind][0])
    with pytest.raises(InputError) as caught:
        load_causal(str(tmp_path / "x.gguf"))
    assert FALSE[kind][1] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_a_whole_file_passes(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(whole)
    check_header(tmp_path / "x.gguf")


@given(data=st.data())
def test_a_file_that_was_cut_or_changed_is_refused_or_can_be_read_to_its_end(
    data: st.DataObject, whole: bytes, tmp_path: Path
) -> None:
    """gguf's own reader comes back from every header that passes: no number in it goes beyond the file."""
    changed = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for at, byte in data.draw(st.lists(st.tuples(st.integers(4, 200), st.integers(0, 255)), max_size=4)):
        changed[at : at + 1] = bytes([byte]) if at < len(changed) else b""
    file = tmp_path / "x.gguf"
    file.write_bytes(changed)
    if (said := refusal(lambda: check_header(file))) is not None:
        assert "\n" not in said
        return
    with contextlib.suppress(ValueError, KeyError, IndexError, UnicodeError):  # which the loader says in one line
        GGUFReader(file)


def cut(file: Path, share: float) -> None:
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])


def lying(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """A header of safetensors that says something else of the same bytes."""
    content = (folder / WEIGHTS).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    said = json.loads(content[8 : 8 + length])
    change(said)
    text = json.dumps(said).encode()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def pickled(folder: Path) -> None:
    class Run:
        def __reduce__(self) -> Any:
            return Path.touch, (folder / "was-run",)

    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Run()))


def indexed(folder: Path, index: str) -> None:
    (folder / WEIGHTS).unlink()
    (folder / f"{WEIGHTS}.index.json").write_text(index)


def reshaped(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    weights["lm_head.weight"] = weights["lm_head.weight"][:-5].clone()
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def settings_of(file: str = "config.json", **changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        found = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**found, **changes}))

    return change


BROKEN: dict[str, Callable[[Path], Any]] = {
    "weights cut in the header": lambda folder: cut(folder / WEIGHTS, 0.01),
    "weights cut": lambda folder: cut(folder / WEIGHTS, 0.5),
    "no weights": lambda folder: (folder / WEIGHTS).unlink(),
    "empty weights": lambda folder: (folder / WEIGHTS).write_bytes(b""),
    "a header without an end": lambda folder: (folder / WEIGHTS).write_bytes(struct.pack("<Q", 1 << 60) + b"{"),
    "places beyond the file": lambda f: lying(f, lambda s: s["lm_head.weight"].update(data_offsets=[0, 1 << 50])),
    "a shape that its bytes have not": lambda f: lying(f, lambda s: s["lm_head.weight"].update(shape=[1, 1])),
    "an unknown type": lambda f: lying(f, lambda s: s["lm_head.weight"].update(dtype="F7")),
    "a weight of another shape": reshaped,
    "a pickle": pickled,
    "settings cut": lambda folder: cut(folder / "config.json", 0.5),
    "settings in a list": lambda folder: (folder / "config.json").write_text("[]"),
    "settings of the wrong kind": settings_of(hidden_size="many"),
    "settings that contradict": settings_of(num_attention_heads=7),
    "an unknown kind of model": settings_of(model_type="nothing"),
    "no kind of model": settings_of(model_type=None),
    "tokenizer cut": lambda folder: cut(folder / "tokenizer.json", 0.5),
    "tokenizer in a list": lambda folder: (folder / "tokenizer.json").write_text("[]"),
    "tokenizer's settings cut": lambda folder: cut(folder / "tokenizer_config.json", 0.5),
    "tokenizer's settings in a list": lambda folder: (folder / "tokenizer_config.json").write_text("[]"),
    "a longest text in words": settings_of("tokenizer_config.json", model_max_length="abc"),
    "a longest text of nothing": settings_of("tokenizer_config.json", model_max_length=0),
    "a longest text that is no number": settings_of("tokenizer_config.json", model_max_length=float("nan")),
    "an end in a list of lists": settings_of("generation_config.json", eos_token_id=[[1]]),
    "an end in words": settings_of("generation_config.json", eos_token_id="x"),
    "an index of nothing": lambda folder: indexed(folder, "{}"),
    "an index of what lies elsewhere": lambda folder: indexed(
        folder, '{"weight_map": {"lm_head.weight": "../../x.safetensors"}}'
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_folder_is_one_line(kind: str, tiny_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    BROKEN[kind](folder)
    with pytest.raises(InputError) as caught:
        load_causal(str(folder))
    assert "\n" not in str(caught.value)
    assert repr(str(folder)) in str(caught.value)
    assert not (folder / "was-run").exists()


@pytest.mark.parametrize("shards", [False, True])
def test_more_layers_than_weights_are_not_built(shards: bool, tiny_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    count = len(names := load_file(folder / WEIGHTS))
    if shards:
        (folder / WEIGHTS).rename(folder / "part.safetensors")
        index = {"metadata": {}, "weight_map": dict.fromkeys(names, "part.safetensors")}
        (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    settings_of(num_hidden_layers=20_000)(folder)
    with pytest.raises(InputError, match=rf"has 20000 layers, as config\.json says, and {count} weights"):
        load_causal(str(folder))


@settings(max_examples=25)
@given(at=st.integers(0, 900), byte=st.integers(0, 255))
def test_a_byte_of_a_safetensors_header_is_refused_or_changes_no_more_than_itself(
    at: int, byte: int, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path_factory.mktemp("changed") / "model"))
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[at] = byte
    (folder / WEIGHTS).write_bytes(content)
    expected = load_file(tiny_folder / WEIGHTS)

    def load() -> None:
        for name, weight in load_causal(str(folder))[0].state_dict().items():
            assert torch.equal(weight, expected[name])

    assert "\n" not in (refusal(load) or "")


def test_the_command_line_says_it_and_leaves_nothing(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path(shutil.copytree(tiny_folder, "model"))
    cut(folder / WEIGHTS, 0.5)
    Path("x.csv").write_text("text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(20)))
    words = [f"--{name}=model" for name in ("policy-model", "task-model", "judge")]
    assert main(["classify", "x.csv", "--text=text", "--label=label", "--out=run", "--threads=1", *words]) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert len([line for line in said.err.splitlines() if line.startswith("hardprompt: ")]) == 1
    assert not Path("run").exists()

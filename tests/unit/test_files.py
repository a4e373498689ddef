"""States round-trip exactly, and what is on disk is always whole."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from hardprompt.errors import InputError
from hardprompt.search import files, writing
from hardprompt.search.files import StateStore
from hardprompt.search.writing import write_text

STATE: dict[str, Any] = {
    "weights": {"a": torch.randn(3, 2), "scalar": torch.tensor(0.1), "bytes": torch.arange(5, dtype=torch.uint8)},
    "list": [1, 2.5, None, "text", {"deep": torch.zeros(0)}],
    "float": 0.1 + 0.2,
}


def test_a_state_comes_back_to_the_bit(tmp_path: Path) -> None:
    StateStore(tmp_path / "c").save(1, STATE)
    back = StateStore(tmp_path / "c").load()
    assert back is not None
    assert torch.equal(back["weights"]["a"], STATE["weights"]["a"])
    assert back["weights"]["scalar"].shape == ()
    assert back["list"][:4] == STATE["list"][:4]
    assert back["list"][4]["deep"].shape == (0,)
    assert back["float"] == STATE["float"]


def test_only_the_latest_state_is_kept(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "c")
    for number in (1, 2, 3):
        store.save(number, {"t": torch.tensor([float(number)])})
    assert store.load() == {"t": torch.tensor([3.0])}
    assert len(list((tmp_path / "c").iterdir())) == 2


def test_a_save_that_fails_midway_leaves_the_state_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = StateStore(tmp_path / "c")
    store.save(1, {"t": torch.tensor([1.0])})

    def fail(*_: Any) -> None:
        raise OSError("power cut")

    monkeypatch.setattr(files, "write_text", fail)  # the tensors are written, the name is not yet moved
    with pytest.raises(OSError, match="power cut"):
        store.save(2, {"t": torch.tensor([2.0])})
    assert StateStore(tmp_path / "c").load() == {"t": torch.tensor([1.0])}


def test_saving_the_same_number_twice_is_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = StateStore(tmp_path / "c")
    store.save(1, {"t": torch.tensor([1.0]), "n": 1})
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_text", lambda *_: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            store.save(1, {"t": torch.tensor([2.0]), "n": 2})
    assert store.load() == {"t": torch.tensor([1.0]), "n": 1}
    store.save(1, {"t": torch.tensor([2.0]), "n": 2})
    assert store.load() == {"t": torch.tensor([2.0]), "n": 2}


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    StateStore(tmp_path / "c").save(1, STATE)
    (tensors,) = (tmp_path / "c").glob("*.safetensors")
    tensors.write_bytes(b"garbage")
    with pytest.raises(InputError, match="damaged"):
        StateStore(tmp_path / "c").load()


def test_text_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "before")
    monkeypatch.setattr(writing.os, "fsync", lambda _: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_text(path, "after")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_large_tensor_is_written_once_wherever_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_LARGE", 400)
    store = StateStore(tmp_path / "c")
    old, new = torch.randn(200), torch.randn(200)
    store.save(1, {"blocks": [torch.randn(200), old], "small": torch.ones(2)})
    (kept,) = [p for p in (tmp_path / "c").glob("large-*") if torch.equal(load_file(p)["__tensor__"], old)]
    written = kept.stat().st_mtime_ns
    store.save(2, {"blocks": [old, new], "small": torch.zeros(2)})
    back = store.load()
    assert back is not None
    assert torch.equal(back["blocks"][0], old)
    assert torch.equal(back["blocks"][1], new)
    assert kept.stat().st_mtime_ns == written
    assert len(list((tmp_path / "c").glob("large-*"))) == 2


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/other.safetensors", "..", ""])
def test_a_state_names_no_file_outside_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "other.safetensors").write_bytes(to_bytes({"a": torch.zeros(1)}))
    store = StateStore(tmp_path / "checkpoint")
    store.save(1, {"a": torch.zeros(1)})
    index = tmp_path / "checkpoint" / "state.json"
    whole = json.loads(index.read_text())
    for changed in ({"tensors": name}, {"large": {"a": name}}):
        index.write_text(json.dumps({**whole, **changed}))
        with pytest.raises(InputError, match="is damaged"):
            store.load()

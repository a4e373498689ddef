"""States round-trip exactly, and what is on disk is always whole."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from hardprompt.errors import InputError
from hardprompt.search import files
from hardprompt.search.files import Past, StateStore, digest
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
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_text(path, "after")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("items", [["ä\u2028", "b"], [[1, 0.1 + 0.2, None]], [{"t": torch.arange(3)}, "x"]], ids=str)
def test_a_log_comes_back_with_what_was_appended(tmp_path: Path, items: list[Any]) -> None:
    store, grown = StateStore(tmp_path / "c"), []
    for number in range(3):
        grown.extend(items)
        store.save(number, {"deep": [{"log": Past(grown)}], "number": number})
        back = StateStore(tmp_path / "c").load()
        assert str(back) == str({"deep": [{"log": grown}], "number": number})
    assert len(list((tmp_path / "c").glob("log-*"))) == 1


def test_a_list_that_was_begun_anew_is_written_anew_and_an_empty_one_stays_empty(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "c")
    store.save(1, {"a": Past([1, 2, 3]), "b": Past([])})
    store.save(2, {"a": Past([7, 8, 9, 10]), "b": Past([])})
    assert StateStore(tmp_path / "c").load() == {"a": [7, 8, 9, 10], "b": []}


def test_a_past_is_a_snapshot(tmp_path: Path) -> None:
    grown = [1]
    past = Past(grown)
    grown.append(2)
    StateStore(tmp_path / "c").save(1, {"a": past})
    assert StateStore(tmp_path / "c").load() == {"a": [1]}


def test_a_run_that_is_killed_at_any_byte_of_an_append_goes_on_from_the_save_before(tmp_path: Path) -> None:
    store, grown = StateStore(tmp_path / "c"), ["first"]
    store.save(1, {"log": Past(grown), "n": 1})
    (log,) = (tmp_path / "c").glob("log-*")
    whole, index = log.read_bytes(), (tmp_path / "c" / "state.json").read_bytes()
    tensors = next((tmp_path / "c").glob("tensors-*")).read_bytes()
    grown.append("zweiter, größer")
    store.save(2, {"log": Past(grown), "n": 2})
    appended, after = log.read_bytes(), (tmp_path / "c" / "state.json").read_bytes()
    assert appended.startswith(whole)
    for size in range(len(whole), len(appended) + 1):
        log.write_bytes(appended[:size])
        (tmp_path / "c" / "state.json").write_bytes(index)  # the rename was not reached
        (tmp_path / "c" / json.loads(index)["tensors"]).write_bytes(tensors)
        assert StateStore(tmp_path / "c").load() == {"log": ["first"], "n": 1}
        (tmp_path / "c" / "state.json").write_bytes(after)
        if size < len(appended):  # what counted is gone: no kill does that
            with pytest.raises(InputError, match=r"damaged: log-.* has .* bytes of"):
                StateStore(tmp_path / "c").load()


@pytest.mark.parametrize("failing", ["fsync", "write_text"])
def test_a_disk_that_is_full_during_a_save_leaves_the_state_before_and_the_next_save_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    store, grown = StateStore(tmp_path / "c"), ["a"]
    store.save(1, {"log": Past(grown)})
    grown += ["b", "c"]
    with monkeypatch.context() as patch:
        where: Any = os if failing == "fsync" else files
        patch.setattr(where, failing, lambda *_: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(OSError, match="full"):
            store.save(2, {"log": Past(grown)})
    assert StateStore(tmp_path / "c").load() == {"log": ["a"]}
    grown.append("d")
    store.save(3, {"log": Past(grown)})
    assert StateStore(tmp_path / "c").load() == {"log": ["a", "b", "c", "d"]}


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "link", ".", "", "a/b", None, 7])
@pytest.mark.parametrize("what", ["tensors", "logs"])
def test_a_state_cannot_name_a_file_outside_its_folder(tmp_path: Path, name: Any, what: str) -> None:
    StateStore(tmp_path / "c").save(1, {"log": Past(["a"])})
    (tmp_path / "secret").write_text("[1]\n")
    (tmp_path / "c" / "link").symlink_to(tmp_path / "secret")
    index = json.loads((tmp_path / "c" / "state.json").read_text())
    index[what] = name if what == "tensors" else {"/log": [name, 1, "0" * 64]}
    del index["digest"]
    (tmp_path / "c" / "state.json").write_text(json.dumps({**index, "digest": digest(index)}))
    with pytest.raises(InputError, match=r"damaged: (?!it is not as)"):  # the digest is right
        StateStore(tmp_path / "c").load()


@pytest.mark.parametrize("file", ["state.json", "tensors", "log"])
def test_what_was_edited_is_refused(tmp_path: Path, file: str) -> None:
    StateStore(tmp_path / "c").save(1, {"log": Past(["a"]), "n": 1, "t": torch.arange(3)})
    (path,) = [path for path in (tmp_path / "c").iterdir() if path.name.startswith(file)]
    data = bytearray(path.read_bytes())
    if file == "state.json":
        path.write_text(path.read_text().replace('"n": 1', '"n": 2'))
    else:
        data[-2 if file == "tensors" else 2] ^= 1
        path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"damaged.*as (it was|they were) written"):
        StateStore(tmp_path / "c").load()


def test_a_checkpoint_of_the_form_before_this_one_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "state.json").write_text('{"tensors": "t", "large": {}, "state": {}}')
    with pytest.raises(InputError, match="another version of hardprompt wrote the checkpoint"):
        StateStore(tmp_path / "c").load()

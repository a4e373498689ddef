"""States of tensors and plain values in files, without pickle."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from hardprompt.errors import InputError
from hardprompt.search.writing import write_bytes, write_text

_TENSOR = "__tensor__"
_LARGE = 8_000_000  # bytes from which a tensor has a file of its own


class StateStore:
    """The latest state of a run in a folder: tensors as safetensors, the rest as JSON, the JSON naming the files.

    Renaming ``state.json`` is the one moment at which a new state takes the place of the old one. The folder is made
    when it is first written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index = folder / "state.json"

    def save(self, number: int, state: dict[str, Any]) -> None:
        """Write ``state``, made of dicts, lists, strings, numbers, None and tensors, as number ``number``."""
        self._folder.mkdir(exist_ok=True)
        tensors: dict[str, torch.Tensor] = {}
        plain = _strip(state, "", tensors)
        large = {path: tensors.pop(path) for path, t in list(tensors.items()) if t.nbytes >= _LARGE}
        names = {path: self._write({_TENSOR: t}, "large") for path, t in large.items()}
        name = self._write(tensors, f"tensors-{number:06d}")
        write_text(self._index, json.dumps({"tensors": name, "large": names, "state": plain}))
        for old in self._folder.iterdir():
            if old.name not in (name, self._index.name, *names.values()):
                old.unlink()

    def load(self) -> dict[str, Any] | None:
        """The latest state, or None when none was saved.

        Raises:
            InputError: the files are there but damaged.
        """
        if not self._index.is_file():
            return None
        try:
            index = json.loads(self._index.read_text(encoding="utf-8"))
            tensors = load_file(self._own(index["tensors"]))
            for path, name in index["large"].items():
                tensors[path] = load_file(self._own(name))[_TENSOR]
            state: dict[str, Any] = _restore(index["state"], tensors)
        except (ValueError, KeyError, OSError, SafetensorError) as error:
            raise InputError(f"checkpoint {str(self._folder)!r} is damaged: {error}.") from error
        return state

    def _own(self, name: str) -> Path:
        """A file of this folder: an index that somebody wrote may name any."""
        if Path(name).name != name:
            raise ValueError(f"it names {name!r}, which is no file of it")
        return self._folder / name

    def _write(self, tensors: dict[str, torch.Tensor], label: str) -> str:
        data = save(tensors)
        # The name follows from the content: a file that state.json names is never changed, and never written twice.
        name = f"{label}-{hashlib.sha256(data).hexdigest()[:12]}.safetensors"
        if not (self._folder / name).is_file():
            write_bytes(self._folder / name, data)
        return name


def _strip(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {_TENSOR: path}
    if isinstance(value, dict):
        return {k: _strip(v, f"{path}/{k}", tensors) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_strip(v, f"{path}/{i}", tensors) for i, v in enumerate(value)]
    return value


def _restore(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, dict):
        return tensors[value[_TENSOR]] if _TENSOR in value else {k: _restore(v, tensors) for k, v in value.items()}
    return [_restore(v, tensors) for v in value] if isinstance(value, list) else value

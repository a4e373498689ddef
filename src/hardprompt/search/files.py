"""States of tensors and plain values in files, without pickle."""

import base64
import hashlib
import itertools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from hardprompt.errors import InputError
from hardprompt.search.writing import naming, write_bytes, write_text

_TENSOR, _LOG = "__tensor__", "__log__"
_FORM = 3  # of state.json; 1 had no logs, 2 no digests


class Past(list[Any]):
    """A copy of a list that only ever grows at its end: of such a list a checkpoint writes what is new and no more.

    Who keeps the list never changes what is in it, and begins another one to forget. Its items are what a state is made
    of, or ``plain`` makes that of each.
    """

    def __init__(self, grown: list[Any], plain: Callable[[Any], Any] | None = None) -> None:
        super().__init__(grown if plain is None else map(plain, grown))
        self.grown = grown


@dataclass(frozen=True)
class _Log:
    """What of a ``Past`` is in a file: one line of JSON an item."""

    grown: list[Any]
    name: str
    items: int
    size: int  # bytes that count; what stands behind them was never finished
    hash: Any  # of these bytes, to go on with


class StateStore:
    """The latest state of a run in a folder: small files that are written anew, and logs that are appended to.

    ``state.json`` names the others and says how much of each log counts: renaming it is the one moment at which a new
    state takes the place of the old one, and what was appended without it is no part of either. Tensors are
    safetensors, the rest is JSON, and of everything there is a digest: what was edited is not gone on with. The folder
    is made when it is first written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index = folder / "state.json"
        self._logs: dict[str, _Log] = {}

    def save(self, number: int, state: dict[str, Any]) -> None:
        """Write ``state``, made of dicts, lists, strings, numbers, None and tensors, as number ``number``."""
        self._folder.mkdir(exist_ok=True)
        tensors: dict[str, torch.Tensor] = {}
        pasts: dict[str, Past] = {}
        plain = _strip(state, "", tensors, pasts)
        logs: dict[str, _Log] = {}
        for path, past in pasts.items():
            logs[path] = self._append(path, past, {log.name for log in logs.values()})
        data = save(tensors)
        # The name follows from the content: a file that state.json names is never changed, and never written twice.
        name = f"tensors-{number:06d}-{_short(data)}.safetensors"
        if not (self._folder / name).is_file():
            write_bytes(self._folder / name, data)
        sizes = {path: [log.name, log.size, log.hash.hexdigest()] for path, log in logs.items()}
        index = {"form": _FORM, "tensors": name, "logs": sizes, "state": plain}
        write_text(self._index, json.dumps({**index, "digest": digest(index)}))
        self._logs = logs
        for old in self._folder.iterdir():
            if old.name not in (name, self._index.name, *(log.name for log in logs.values())):
                old.unlink()

    def load(self) -> dict[str, Any] | None:
        """The latest state, or None when none was saved.

        Raises:
            InputError: the files are there but damaged, or are not where they belong.
        """
        if not self._index.is_file():
            return None
        try:
            index = json.loads(self._index.read_text(encoding="utf-8"))
            if index.get("form") != _FORM:
                raise InputError(
                    f"another version of hardprompt wrote the checkpoint {str(self._folder)!r}, and this one cannot go "
                    "on with it; run its run.yaml anew: hardprompt run FILE --out NAME."
                )
            if index.pop("digest", None) != digest(index):
                raise ValueError("it is not as it was written")
            data = self._own(index["tensors"]).read_bytes()
            if not index["tensors"].endswith(f"-{_short(data)}.safetensors"):
                raise ValueError("its tensors are not as they were written")
            tensors = load(data)
            logs = {path: self._read(*log) for path, log in index["logs"].items()}
            state: dict[str, Any] = _restore(index["state"], tensors, logs)
        except (
            ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError, OSError, SafetensorError,
        ) as error:  # fmt: skip
            if isinstance(error, InputError):
                raise
            raise InputError(f"checkpoint {str(self._folder)!r} is damaged: {error}.") from error
        return state

    def _append(self, path: str, past: Past, taken: set[str]) -> _Log:
        """Write what is new of a log, behind what counts of its file or into a new file."""
        known = self._logs.get(path)
        if known is None or known.grown is not past.grown or known.items > len(past):
            there = {file.name for file in self._folder.iterdir()} | taken if self._folder.is_dir() else taken
            name = next(n for i in itertools.count(1) if (n := f"log-{i:06d}.jsonl") not in there)
            known = _Log(past.grown, name, 0, 0, hashlib.sha256())
        new = "".join(_line(item) for item in past[known.items :]).encode()
        if new or not known.size:
            file = self._folder / known.name
            with naming(file), file.open("r+b" if known.size else "wb") as stream:
                stream.seek(known.size)
                stream.truncate()  # what a save that failed may have left there
                stream.write(new)
                stream.flush()
                os.fsync(stream.fileno())
        whole = known.hash.copy()
        whole.update(new)
        return replace(known, items=len(past), size=known.size + len(new), hash=whole)

    def _read(self, name: str, size: int, digest: str) -> list[Any]:
        path = self._own(name)
        there = path.stat().st_size
        if not 0 <= size <= there:
            raise ValueError(f"{name} has {there} bytes of {size}")
        with path.open("rb") as stream:
            data = stream.read(size)
        if hashlib.sha256(data).hexdigest() != digest:
            raise ValueError(f"{name} is not as it was written")
        return [_item(line) for line in data.splitlines()]

    def _own(self, name: str) -> Path:
        """A file of the folder; a state that came from elsewhere may name another."""
        path = self._folder / name
        if Path(name).name != name or path.is_symlink() or not path.is_file():
            raise ValueError(f"{name!r} is no file of it")
        return path


def digest(index: dict[str, Any]) -> str:
    """Of all that a ``state.json`` says."""
    return hashlib.sha256(json.dumps(index).encode()).hexdigest()


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


def _line(item: Any) -> str:
    """An item as a line of JSON: itself, and its tensors, if any, as safetensors in base64."""
    tensors: dict[str, torch.Tensor] = {}
    plain = _strip(item, "", tensors, {})
    return json.dumps([plain, base64.b64encode(save(tensors)).decode()] if tensors else [plain]) + "\n"


def _item(line: bytes) -> Any:
    plain, *rest = json.loads(line)
    return _restore(plain, load(base64.b64decode(rest[0])) if rest else {}, {})


def _strip(value: Any, path: str, tensors: dict[str, torch.Tensor], pasts: dict[str, Past]) -> Any:
    """``value`` as JSON, with names in the place of tensors and logs, which are put into the two dicts."""
    if isinstance(value, torch.Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {_TENSOR: path}
    if isinstance(value, Past):
        pasts[path] = value
        return {_LOG: path}
    if isinstance(value, dict):
        return {k: _strip(v, f"{path}/{k}", tensors, pasts) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_strip(v, f"{path}/{i}", tensors, pasts) for i, v in enumerate(value)]
    return value


def _restore(value: Any, tensors: dict[str, torch.Tensor], logs: dict[str, list[Any]]) -> Any:
    if isinstance(value, dict):
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        return logs[value[_LOG]] if _LOG in value else {k: _restore(v, tensors, logs) for k, v in value.items()}
    return [_restore(v, tensors, logs) for v in value] if isinstance(value, list) else value

"""What stands in a model's files that would fetch code, read a pickle or add another model's weights: none is used."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from hardprompt.errors import InputError

ADAPTER = "adapter_config.json"
# What computes attention and experts: by some names transformers fetches code of the hub, where kernels is installed.
_HOW = {f"{start}{part}_implementation" for start in ("", "_") for part in ("attn", "experts")}
_TORCH = (None, "eager", "sdpa")
_WEIGHTS = "transformers_weights"  # the file of the weights, which may be a pickle
_INDEX = ".safetensors.index.json"  # says which file has which weight, any of which may be a pickle


def plain(values: Any) -> Any:
    """A configuration, as JSON has it, without what ``_unasked`` says; transformers then takes what torch has."""
    if isinstance(values, Mapping):
        return {key: plain(value) for key, value in values.items() if not _unasked(key, value)}
    return [plain(value) for value in values] if isinstance(values, list) else values


def _unasked(key: Any, value: Any) -> bool:
    if key in _HOW:
        return value not in _TORCH
    return key == _WEIGHTS and not str(value).endswith((".safetensors", _INDEX))


def _named(values: Any) -> Iterator[str]:
    """The keys that ``plain`` leaves out."""
    both = values.items() if isinstance(values, Mapping) else enumerate(values if isinstance(values, list) else ())
    for key, value in both:
        if _unasked(key, value):
            yield str(key)
        elif isinstance(value, Mapping | list):
            yield from _named(value)


def adapted(name: str, what: str = "model") -> InputError:
    """Say that an adapter lies in the folder of a model."""
    return InputError(
        f"{what} {name!r} holds an adapter ({ADAPTER}), which is another model where peft is installed; merge it into "
        "its model (merge_and_unload() of peft) and give the folder of that, or take the file away."
    )


def check_shards(name: str, where: str, revision: str, config: Any) -> None:
    """Raise an InputError for a model whose index of weights names what is no safetensors file in the model's folder.

    Args:
        name: what the user calls it.
        where: its folder, or its name on the hub.
        revision: the commit there.
        config: its configuration.
    """
    from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, cached_file

    own = str(getattr(config, _WEIGHTS, None))
    for index in {SAFE_WEIGHTS_INDEX_NAME, own if own.endswith(_INDEX) else SAFE_WEIGHTS_INDEX_NAME}:
        file = cached_file(
            where, index, revision=revision,
            _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False,
        )  # fmt: skip
        if file is not None:
            _check_index(name, index, _read(Path(file)), "model")


def check_parts(name: str, folder: Path, what: str = "model") -> None:
    """Raise an InputError for a pipeline with a model in it that asks for what is not used, naming the key."""
    for file in sorted(folder.rglob("*.json")):
        place = str(file.relative_to(folder))
        if file.name == ADAPTER:
            raise adapted(name, what)
        if file.name.endswith(_INDEX):
            _check_index(name, place, _read(file), what)
        elif ("config." in file.name or file.name == "model_index.json") and (key := next(_named(_read(file)), None)):
            raise InputError(f"{what} {name!r} has {key} in {place}, which may name code of the hub; take it out.")


def _check_index(name: str, index: str, found: Any, what: str) -> None:
    shards = found.get("weight_map") if isinstance(found, Mapping) else None
    if not isinstance(shards, Mapping):
        raise InputError(f"{what} {name!r} cannot be read: its {index} does not say where its weights are.")
    for file in shards.values():
        path = PureWindowsPath(str(file))  # it knows the signs of every system
        if not str(file).endswith(".safetensors") or path.anchor or ".." in path.parts:
            raise InputError(
                f"{what} {name!r} has its weights in {str(file)!r}, as {index} says; only .safetensors files in its "
                "own folder are read. Save it with save_pretrained() of transformers."
            )


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # whoever needs it says it
        return None

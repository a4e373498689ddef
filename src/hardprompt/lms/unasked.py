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
_LAYERS = ("num_hidden_layers", "encoder_layers", "decoder_layers")
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


def check_weights(name: str, where: str, revision: str, config: Any) -> None:
    """See that weights are safetensors files in the model's own folder, and enough for the layers of its configuration.

    Args:
        name: what the user calls it.
        where: its folder, or its name on the hub.
        revision: the commit there.
        config: its configuration.

    Raises:
        InputError: an index of weights names another file, or there are more layers than weights.
    """
    from safetensors import safe_open
    from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file

    own = getattr(config, _WEIGHTS, None)
    for file in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME) if own is None else (str(own),):
        found = cached_file(where, file, revision=revision, _raise_exceptions_for_missing_entries=False)
        if found is None:
            continue
        if file.endswith(_INDEX):
            count = len(_check_index(name, file, _read(Path(found)), "model"))
        else:
            with safe_open(found, framework="pt") as weights:
                count = len(weights.keys())
        parts = (config, *(getattr(config, inner, None) for inner in config.sub_configs))
        layers = max(value for part in parts for key in _LAYERS if isinstance(value := getattr(part, key, 0), int))
        if layers > count:  # which would be built for minutes, to be refused then
            raise InputError(
                f"model {name!r} has {layers} layers, as config.json says, and {count} weights: its checkpoint is not "
                "whole; use another."
            )
        return


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


def _check_index(name: str, index: str, found: Any, what: str) -> Mapping[str, Any]:
    """The file of each weight by the weight's name."""
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
    return shards


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # whoever needs it says it
        return None

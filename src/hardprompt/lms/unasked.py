"""What stands in a model's files that would fetch code, read a pickle or add another model's weights: none is used."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hardprompt.errors import InputError

ADAPTER = "adapter_config.json"
# What computes attention and experts: by some names transformers fetches code of the hub, where kernels is installed.
_HOW = {f"{start}{part}_implementation" for start in ("", "_") for part in ("attn", "experts")}
_TORCH = (None, "eager", "sdpa")
_WEIGHTS = "transformers_weights"  # the file of the weights, which may be a pickle


def plain(values: Any) -> Any:
    """A configuration, as JSON has it, without what ``_unasked`` says; transformers then takes what torch has."""
    if isinstance(values, Mapping):
        return {key: plain(value) for key, value in values.items() if not _unasked(key, value)}
    return [plain(value) for value in values] if isinstance(values, list) else values


def _unasked(key: Any, value: Any) -> bool:
    if key in _HOW:
        return value not in _TORCH
    return key == _WEIGHTS and not str(value).endswith((".safetensors", ".safetensors.index.json"))


def _named(values: Any) -> Iterator[str]:
    """The keys that ``plain`` leaves out."""
    for key, value in values.items() if isinstance(values, Mapping) else enumerate(values):
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


def check_parts(name: str, folder: Path, what: str = "model") -> None:
    """Raise an InputError for a pipeline with a model in it that asks for what is not used, naming the key."""
    for file in sorted(folder.rglob("*.json")):
        if file.name == ADAPTER:
            raise adapted(name, what)
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):  # whoever needs it says it
            continue
        if isinstance(found, Mapping | list) and (key := next(_named(found), None)) is not None:
            raise InputError(
                f"{what} {name!r} has {key} in {file.relative_to(folder)}, which may name code of the hub; take it out."
            )

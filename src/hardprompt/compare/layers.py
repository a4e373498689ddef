"""The layers of a comparison's settings: what may stand in each, and what differs from split to split."""

from collections.abc import Iterator, Mapping
from typing import Any

from hardprompt.errors import InputError

_INSTEAD = {  # of what a search has, and a layer may not say
    "task": "all searches have the task of the comparison",
    "seed": "the comparison's seeds are those of every method",
    "method": "name methods under methods",
    "settings": "those of a method stand beside it, under methods, or in the settings of the comparison",
}


def check_layers(plan: Mapping[str, Any]) -> None:
    """Raise an InputError for a setting that would do nothing where it stands, and for a method's that are none.

    Args:
        plan: the fields of a ``Plan``.
    """
    for where, layer, lacks in _layers(plan):
        for key in lacks:
            if key in layer:
                raise InputError(f"{where} has {key}, which does nothing there: {_INSTEAD[key]}.")
        own = layer.get("settings")
        if own is not None and not (isinstance(own, Mapping) and all(isinstance(key, str) for key in own)):
            raise InputError(f"'settings' of {where} is {own!r}; a mapping with names for keys was expected.")


def by_split(value: Any) -> bool:
    """Whether a text in there differs from split to split."""
    if isinstance(value, Mapping):
        return any(map(by_split, value.values()))
    if isinstance(value, list | tuple):
        return any(map(by_split, value))
    return isinstance(value, str) and "{split}" in value


def _layers(plan: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], tuple[str, ...]]]:
    """Each by its place, with what it may not have."""
    for name in ("settings", "typed"):
        yield name, plan[name], ("task", "seed", "method")
    for name, own in plan["methods"].items():
        yield f"{name!r} of methods", own, ("task", "seed")
    for name, own in plan["data"].items():
        yield f"{name!r} of data", own, tuple(_INSTEAD)
    for name, own in plan["models"].items():
        yield f"{name!r} of models", own, tuple(_INSTEAD)
        for part, inner in (own.get("data") or {}).items():
            yield f"{part!r} of data of {name!r} of models", inner, tuple(_INSTEAD)

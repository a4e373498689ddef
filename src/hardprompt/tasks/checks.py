"""Checks values against the types and ranges that a dataclass or a constructor declares; says each fault plainly."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from hardprompt.errors import unknown

_CONFIG = ConfigDict(strict=True, arbitrary_types_allowed=True, protected_namespaces=())
_KINDS = {
    int: "a whole number", float: "a number", str: "a text", Mapping: "a mapping", tuple: "a list", NoneType: "none",
}  # fmt: skip
_RANGE = ("greater_than_equal", "less_than_equal")


def faults(build: Callable[..., Any], values: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Sentences for the values that are not of the declared kind, and for the numbers outside their range.

    An int is good for a float, a bool for neither. What is not declared, or in a way that cannot be resolved, is not
    checked.

    Args:
        build: a dataclass, whose fields may have a ``range`` in their metadata, or what else takes ``values``.
        values: by name.
    """
    kinds, ranges = _declared(build)
    found: dict[str, str] = {}
    outside = set()
    try:
        _model(build)(**values)
    except ValidationError as error:
        for fault in error.errors():
            name = str(fault["loc"][0])
            if fault["type"] in _RANGE and name not in found:
                outside.add(name)
                low, high = ranges[name]
                said = f"it must be a number between {low:,g} and {_readable(high)}."
            elif (choices := _choices(kinds[name])) is not None:
                found[name] = str(unknown(name, str(values[name]), choices))
                continue
            else:
                said = f"{_wanted(kinds[name])} was expected."
            found.setdefault(name, f"{name} is {values[name]!r}; {said}")
    # In the order in which they were given.
    ordered = [name for name in values if name in found]
    return [found[n] for n in ordered if n not in outside], [found[n] for n in ordered if n in outside]


@functools.cache
def _model(build: Callable[..., Any]) -> type[BaseModel]:
    kinds, ranges = _declared(build)
    declared: dict[str, Any] = {name: (kind, None) for name, kind in kinds.items()}
    for name, (low, high) in ranges.items():
        declared[name] = (Annotated[kinds[name], Field(ge=low, le=high)], None)
    return create_model("Values", __config__=_CONFIG, **declared)


def _declared(build: Callable[..., Any]) -> tuple[dict[str, Any], dict[str, tuple[Any, Any]]]:
    """The type of each argument, and the ranges of those that have one."""
    if dataclasses.is_dataclass(build):
        own, hints = dataclasses.fields(build), get_type_hints(build)
        ranges = {f.name: f.metadata["range"] for f in own if f.metadata.get("range", (None,))[0] is not None}
        return {f.name: hints[f.name] for f in own}, ranges
    try:
        hints = get_type_hints(build.__init__ if inspect.isclass(build) else build)
    except (NameError, TypeError):  # a user's own class may say what only it understands
        return {}, {}
    return {n: kind for n, kind in hints.items() if n != "return" and not n.startswith("_")}, {}


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _choices(kind: Any) -> list[str] | None:
    named = [str(choice) for own in _alternatives(kind) if get_origin(own) is Literal for choice in get_args(own)]
    return named or None


def _wanted(kind: Any) -> str:
    plain = [get_origin(own) or own for own in _alternatives(kind)]
    return " or ".join(str(_KINDS.get(own) or getattr(own, "__name__", own)) for own in plain)


def _readable(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) else f"{number:g}"

"""Checks values against the types and ranges that a dataclass or a constructor declares; says each fault plainly."""

import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, PydanticSchemaGenerationError, ValidationError, create_model
from pydantic_core import SchemaError

from hardprompt.errors import InputError, unknown
from hardprompt.optimizers import FLAGS, Method, methods

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
        _model(build, tuple(name for name in values if name in kinds))(**values)
    except (SchemaError, PydanticSchemaGenerationError):  # types that only the user's own class understands
        return [], []
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


def check_settings(name: str, method: Method, settings: Mapping[str, Any]) -> None:
    """Raise an InputError for settings that the method called ``name`` does not take, or not so."""
    if ":" not in name:  # what the settings of a user's own class mean is its own business
        _check_known(name, method, settings)
    accepted = method.accepted()  # which imports the method, and mostly torch with it
    for key in settings:
        if key not in accepted:
            raise unknown(f"setting of method {name!r}", key, accepted)
    for key in settings:
        if (annotation := _unresolved(method.build).get(key)) is not None:
            raise InputError(
                f"setting {key!r} of method {name!r} is annotated {annotation!r}, which cannot be resolved."
            )
    if found := [fault for kind in faults(method.build, settings) for fault in kind]:
        raise InputError(" ".join(found))


def _check_known(name: str, method: Method, settings: Mapping[str, Any]) -> None:
    """What the registry knows of the settings that a command line has flags for: who takes them, and their ranges."""
    for key, value in settings.items():
        if key in FLAGS and key not in method.settings:
            takers = [other for other, own in methods().items() if key in own.settings]
            raise InputError(f"method {name!r} has no setting {key!r}. Methods that have it: {', '.join(takers)}.")
        if not isinstance(value, int | float):  # of the wrong kind, which is said with the others
            continue
        if key == "top_k" and value < 1:
            raise InputError(f"top_k is {value!r}; it must be a whole number of at least 1.")
        if key == "q" and not value >= 1:
            raise InputError(f"q is {value!r}; it must be a number of at least 1 (1 softmax, 2 sparsemax).")
        if key in ("alpha", "learning_rate") and not value > 0:
            raise InputError(f"{key} is {value!r}; it must be a number above 0.")
        if key == "prior" and not value >= 0:
            raise InputError(f"prior is {value!r}; it must be a number of at least 0 (0 is none).")


@functools.cache
def _model(build: Callable[..., Any], names: tuple[str, ...]) -> type[BaseModel]:
    kinds, ranges = _declared(build)
    declared: dict[str, Any] = {name: (kinds[name], None) for name in names}
    for name in ranges.keys() & set(names):
        low, high = ranges[name]
        declared[name] = (Annotated[kinds[name], Field(ge=low, le=high)], None)
    return create_model("Values", __config__=_CONFIG, **declared)


def _declared(build: Callable[..., Any]) -> tuple[dict[str, Any], dict[str, tuple[Any, Any]]]:
    """The type of each argument, and the ranges of those that have one."""
    hints = {name: kind for name, kind in _hints(build).items() if not isinstance(kind, str)}
    if dataclasses.is_dataclass(build):
        own = [f for f in dataclasses.fields(build) if f.name in hints]
        ranges = {f.name: f.metadata["range"] for f in own if f.metadata.get("range", (None,))[0] is not None}
        return {f.name: hints[f.name] for f in own}, ranges
    return {n: kind for n, kind in hints.items() if n != "return" and not n.startswith("_")}, {}


def _unresolved(build: Callable[..., Any]) -> dict[str, str]:
    """The annotations of arguments that mean nothing where they stand."""
    return {name: kind for name, kind in _hints(build).items() if isinstance(kind, str)}


@functools.cache
def _hints(build: Callable[..., Any]) -> dict[str, Any]:
    """The type of each argument; a string where a user's class says what cannot be resolved."""
    target: Any = build.__init__ if inspect.isclass(build) and not dataclasses.is_dataclass(build) else build
    try:
        return get_type_hints(target)
    except Exception:  # an annotation can be any expression, of names that are there for type checkers only
        pass
    found: dict[str, Any] = {}
    names = vars(sys.modules[build.__module__])
    for name, kind in inspect.get_annotations(target).items():
        try:
            found |= get_type_hints(type("One", (), {"__annotations__": {name: kind}}), names)
        except Exception:
            found[name] = str(kind)
    return found


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

"""What in a file of settings would run code of somebody's, or send something away; nothing is imported to find it."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from hardprompt.lms.own import is_own
from hardprompt.lms.roles import ROLES
from hardprompt.tasks.registry import TASKS, find

_ROLES = {"code", "address", *(name for name, role in ROLES.items() if role.own)}  # of the settings that can ask for it


def foreign(values: Mapping[str, Any]) -> dict[str, str]:
    """By each name of code or address in the settings of a search or a comparison, what it would do.

    Looked at is what is a setting there; the user's words, for a class or in a method's own settings, mean nothing.
    """
    found: dict[str, str] = {}
    for settings in _levels(values):
        for key, value in settings.items():
            role = _roles().get(str(key))
            if role is None or not isinstance(value, str):
                continue
            if role == "address":
                found[value] = f"send texts, and the key in OPENAI_API_KEY, to {value!r}"
            elif ":" in value if role == "code" else is_own(value):
                found[value] = f"run the {str(key).replace('_', ' ')} {value!r}"
    # Of a comparison: a method by the name that tables show.
    for name, own in _mapping(values.get("methods")).items():
        if ":" in str(name) and "method" not in _mapping(own):
            found[str(name)] = f"run the method {name!r}"
    return found


def _levels(values: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All that stands in a file in the place of a search's settings: of a comparison its parts, one over the other."""
    yield values
    for name in ("settings", "typed"):
        yield _mapping(values.get(name))
    for name in ("methods", "data", "models"):
        for own in _mapping(values.get(name)).values():
            yield _mapping(own)
            for inner in _mapping(_mapping(own).get("data")).values():  # of a set of models
                yield _mapping(inner)


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


@functools.cache
def _roles() -> dict[str, str]:
    """The role of each setting that any of our tasks has for such a thing."""
    known = {"task": "code"}
    for name in TASKS:
        known |= {f.name: role for f in fields(find(name)) if (role := f.metadata.get("role")) in _ROLES}
    return known

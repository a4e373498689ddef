"""What in a file of settings would run code of somebody's, or send something away; nothing is imported to find it."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from hardprompt.lms.own import is_own
from hardprompt.lms.roles import ROLES
from hardprompt.tasks.registry import TASKS, find

_ROLES = {"code", "address", *(name for name, role in ROLES.items() if role.own)}  # of the settings that can ask for it


def foreign(values: Any) -> dict[str, str]:
    """By each name of code or address in settings, those of a comparison too, what it would do.

    Where settings are looked for does not matter: what has the name of such a setting is taken for one.
    """
    return dict(_found(values))


def _found(values: Any) -> Iterator[tuple[str, str]]:
    if isinstance(values, list | tuple):
        for value in values:
            yield from _found(value)
    if not isinstance(values, Mapping):
        return
    for key, value in values.items():
        role = _roles().get(str(key))
        if role is None or not isinstance(value, str):
            yield from _found(value)
        elif role == "address":
            yield value, f"send texts, and the key in OPENAI_API_KEY, to {value!r}"
        elif ":" in value if role == "code" else is_own(value):
            yield value, f"run the {str(key).replace('_', ' ')} {value!r}"
        if key == "methods" and isinstance(value, Mapping):  # of a comparison: a method by the name that tables show
            for name in value:
                if ":" in str(name) and not (isinstance(value[name], Mapping) and "method" in value[name]):
                    yield str(name), f"run the method {name!r}"


@functools.cache
def _roles() -> dict[str, str]:
    """The role of each setting that any of our tasks has for such a thing."""
    known = {"task": "code"}
    for name in TASKS:
        known |= {f.name: role for f in fields(find(name)) if (role := f.metadata.get("role")) in _ROLES}
    return known

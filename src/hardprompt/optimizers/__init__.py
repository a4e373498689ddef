"""The registry of search methods: every file of this folder lists the names that it serves in ``METHODS``."""

import functools
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hardprompt.errors import InputError, unknown
from hardprompt.vocabulary import Tokens

# What a constructor may ask a run for, by the name of its argument; everything else is a setting.
GIVEN = {
    "policy": "a policy language model",
    "length": "a number of tokens",
    "seed": "a seed",
    "manual": "a hand-written prompt",
    "instruction": "an instruction",
    "phrase": "a prompt to begin with",
    "examples": "labelled texts",
    "objective": "the gradient of a loss",
}


@dataclass(frozen=True)
class Method:
    """A named way to search: the class that is built, the settings that the name stands for, and where they come from.

    ``tokens`` is what a prompt may be made of, and ``in_place`` whether the policy LM reads a training text in the
    template before it proposes one; both unless the user says otherwise. The papers do neither. ``leads`` says that its
    prompts stand before everything, the rest of the template as it is with the hand-written prompt.
    """

    build: Callable[..., Any]
    summary: str
    source: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    tokens: Tokens = "words"
    in_place: bool = True
    leads: bool = False

    @property
    def needs(self) -> list[str]:
        """What the constructor asks a run for, of ``GIVEN``."""
        return [name for name in inspect.signature(self.build).parameters if name in GIVEN]

    def accepted(self) -> dict[str, Any]:
        """The settings that the constructor takes, with the values that they would have."""
        parameters = inspect.signature(self.build).parameters.values()
        return {p.name: self.settings.get(p.name, p.default) for p in parameters if p.name not in GIVEN}


@functools.cache
def methods() -> dict[str, Method]:
    """Every registered method by name."""
    found: dict[str, Method] = {}
    for module in pkgutil.iter_modules(__path__):
        found.update(importlib.import_module(f"{__name__}.{module.name}").METHODS)
    return dict(sorted(found.items()))


def find(name: str) -> Method:
    """The method called ``name``, or the user's own class ``package.module:Class``.

    Raises:
        InputError: no such method, module or class.
    """
    if ":" in name:
        module_name, _, class_name = name.partition(":")
        if str(Path.cwd()) not in sys.path:  # an installed script does not look where the user stands
            sys.path.insert(0, str(Path.cwd()))
        try:
            build = getattr(importlib.import_module(module_name), class_name)
        except (ImportError, AttributeError, ValueError, SyntaxError) as error:
            raise InputError(f"method {name!r} could not be imported: {error}.") from error
        if not callable(build):
            raise InputError(f"method {name!r} is a {type(build).__name__}, not a class.")
        return Method(build, (inspect.getdoc(build) or class_name).splitlines()[0], "the user's own")
    if name not in methods():
        raise unknown("method", name, methods())
    return methods()[name]

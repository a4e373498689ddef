"""Models of a user's own: ``package.module:Name``, which is called without arguments."""

import contextlib
import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec
from inspect import isfunction, signature
from pathlib import Path
from typing import TypeVar

from hardprompt.errors import HardpromptError, InputError
from hardprompt.search.plugins import load_object, said

_OURS = ("embedded", "openai")  # what stands before a colon without being a module

Model = TypeVar("Model")


def is_own(name: str) -> bool:
    """Whether this is MODULE:NAME with a module that exists here; nothing is imported to find that out."""
    module, colon, _ = name.partition(":")
    top = module.partition(".")[0]
    if not colon or module in _OURS or not top.isidentifier():
        return False
    return bool(top in sys.modules or find_spec(top) or PathFinder.find_spec(top, [str(Path.cwd())]))


def load_own(kind: str, name: str, protocol: type[Model]) -> Model:
    """What the user's class or function of that name makes, which has to be of a protocol; ``kind`` is for messages.

    Raises:
        InputError: it cannot be found, fails, or makes something else.
    """
    build = load_object(kind, name)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for results
            made = build()
    except HardpromptError:
        raise
    except Exception as error:  # the code is the user's: it may raise anything
        raise InputError(f"{kind} {name!r} could not be built: {said(error)}.") from error
    members = {**protocol.__annotations__, **vars(protocol)}
    if not isinstance(made, protocol):
        lacking = ", ".join(name for name in members if not name.startswith("_") and name not in dir(made))
        raise InputError(f"{kind} {name!r} makes a {type(made).__name__}, no {protocol.__name__}: it lacks {lacking}.")
    for member, function in members.items():
        if isfunction(function) and not member.startswith("_"):
            taken = signature(getattr(made, member)).parameters.values()
            asked = [p.name for p in signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
            lacking = ", ".join(a for a in asked if not any(p.name == a or p.kind is p.VAR_KEYWORD for p in taken))
            if lacking:
                what = f"its {member}() does not take {lacking}, as that of {protocol.__name__} does"
                raise InputError(f"{kind} {name!r} makes a {type(made).__name__}: {what}.")
    return made

"""Finds what a user wrote: a function or class by ``package.module:name``, with one sentence for whatever is wrong."""

import contextlib
import importlib
import sys
import traceback
from pathlib import Path
from typing import Any

from hardprompt.errors import HardpromptError, InputError, unknown


def load_object(kind: str, name: str) -> Any:
    """The function or class called ``package.module:name``; the module is looked for where the user stands, too.

    ``kind`` is what it is to be, for messages.

    Raises:
        InputError: no such module or name, a module that fails to load, or something that cannot be called.
    """
    module_name, colon, attribute = name.partition(":")
    if not (colon and module_name and attribute):
        raise InputError(f"{kind} {name!r} is not MODULE:NAME, such as my_module:{kind.split()[-1]}.")
    if "/" in module_name or module_name.startswith("."):
        raise InputError(f"{kind} {name!r} names a path; name the module, from the folder that it lies in.")
    if module_name.endswith(".py"):
        raise InputError(
            f"{kind} {name!r} names a file; name the module: {module_name.removesuffix('.py')}:{attribute}."
        )
    if str(Path.cwd()) not in sys.path:  # an installed script does not look where the user stands
        sys.path.append(str(Path.cwd()))
    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for results
            module = importlib.import_module(module_name)
    except HardpromptError:
        raise
    except (Exception, SystemExit) as error:  # the module is the user's: it may raise anything
        raise InputError(f"{kind} {name!r} could not be imported: {said(error)}.") from error
    try:
        found = getattr(module, attribute)
    except AttributeError:
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise unknown(f"name in {module_name}", attribute, public) from None
    if not callable(found):
        raise InputError(f"{kind} {name!r} is a {type(found).__name__}, which cannot be called.")
    return found


def said(error: BaseException) -> str:
    """An error of the user's code in one line, with the innermost place that is the user's: what can be mended."""
    lines = str(error).strip().splitlines()
    line = f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__
    ours = str(Path(__file__).parents[1])
    places = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    place = places[-1] if places and not places[-1].filename.startswith(ours) else None
    return f"{line} ({Path(place.filename).name}, line {place.lineno})" if place else line

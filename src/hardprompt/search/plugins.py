"""Finds what a user wrote: a function or class by ``package.module:name``, with one sentence for whatever is wrong."""

import contextlib
import importlib
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hardprompt.errors import HardpromptError, InputError, unknown

_trusted: frozenset[str] | None = None  # what the user of this process let it use; None is all, as in Python
_MEND = "if you trust whoever wrote it, add --allow-code."


def trusted() -> frozenset[str] | None:
    """What may be used, as ``trust`` was told; None is all."""
    return _trusted


def trust(names: Iterable[str] | None) -> None:
    """From now on this process uses no code of a user's but what has one of these names; None is all."""
    global _trusted
    _trusted = None if names is None else frozenset(names)


def check_trusted(where: str, found: Mapping[str, str]) -> None:
    """Raise one InputError for all that a file asks for and that is not trusted; nothing is imported.

    Args:
        where: the file.
        found: by its name what each would do, such as "run the method 'my_module:Mine'".
    """
    refused = [] if _trusted is None else [deed for name, deed in found.items() if name not in _trusted]
    if refused:
        raise InputError(f"{where!r} would {', '.join(refused)}; {_MEND}")


def load_object(kind: str, name: str) -> Any:
    """The function or class of a user's called ``package.module:name``, if it is trusted.

    The module is looked for where the user stands, too, after everywhere else. ``kind`` is what it is to be, for
    messages.

    Raises:
        InputError: it is not trusted, there is no such module or name, the module fails to load, or what is there
            cannot be called.
    """
    if ":" in name and _trusted is not None and name not in _trusted:
        raise InputError(f"a file asks for the {kind} {name!r}, which is code; {_MEND}")
    return named_in_code(kind, name)


def named_in_code(kind: str, name: str) -> Any:
    """As ``load_object``, for a name that stands in code that runs already."""
    module_name, colon, attribute = name.partition(":")
    if not (colon and module_name and attribute):
        raise InputError(f"{kind} {name!r} is not MODULE:NAME, such as my_module:{kind.split()[-1]}.")
    if "/" in module_name or module_name.startswith("."):
        raise InputError(f"{kind} {name!r} names a path; name the module, from the folder that it lies in.")
    if module_name.endswith(".py"):
        raise InputError(
            f"{kind} {name!r} names a file; name the module: {module_name.removesuffix('.py')}:{attribute}."
        )
    if str(Path.cwd()) not in sys.path:  # last: a json.py there takes the place of nothing
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

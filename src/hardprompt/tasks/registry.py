"""The registry of tasks: the settings of each by its name, which is its command, too."""

import importlib
import inspect
from typing import TYPE_CHECKING, get_type_hints

from hardprompt.errors import InputError, unknown
from hardprompt.search.plugins import load_object, said

if TYPE_CHECKING:
    from hardprompt.tasks.settings import Settings

TASKS = {
    "classify": "hardprompt.tasks.classify.settings:Classify",
    "restyle": "hardprompt.tasks.restyle.settings:StyleRun",
    "invert": "hardprompt.tasks.invert.settings:Invert",
    "optimize": "hardprompt.tasks.function.settings:Optimize",
}


def find(name: str) -> "type[Settings]":
    """The settings of the task of that name, or the user's own ``package.module:Class``.

    Raises:
        InputError: there is none, or what is there is no task's settings.
    """
    from hardprompt.tasks.settings import Settings

    if name in TASKS:
        module, _, attribute = TASKS[name].partition(":")
        found = getattr(importlib.import_module(module), attribute)
    elif ":" in name:
        found = load_object("task", name)
    else:
        raise unknown("task", name, TASKS)
    if not (inspect.isclass(found) and issubclass(found, Settings)):
        raise InputError(f"task {name!r} is no class of settings; it must extend hardprompt.tasks.Settings.")
    try:
        get_type_hints(found)
    except Exception as error:  # an annotation of a user's may be of any kind
        raise InputError(f"task {name!r} has annotations that cannot be resolved: {said(error)}.") from error
    given = {"load": not inspect.isabstract(found), "figure": found.figure, "table": found.table}
    if missing := [part for part, there in given.items() if not there]:
        raise InputError(f"task {name!r} has no {missing[0]!r}; give its class load(), figure and table.")
    if found.task != name:  # a run folder says by it how to find the task again
        raise InputError(f"task {name!r} calls itself {found.task!r}; give the class task = {name!r}.")
    return found

"""Checks types and jaxtyping's shapes of our functions while the tests run."""

import ast
import importlib
import inspect
import sys
from types import ModuleType
from typing import Any, Self

from beartype import BeartypeConf, FrozenDict, beartype

_beartype = beartype(
    conf=BeartypeConf(
        is_pep484_tower=True,  # an int may stand for a float, as type checkers have it
        is_random=False,  # always the same items of a container are looked at
        hint_overrides=FrozenDict({Self: Any}),  # a function alone does not know its class
    )
)


def check(function: Any) -> Any:
    """The function, which raises for an argument or result that is not as annotated."""
    if function.__module__.endswith(".settings"):  # they hold what a user typed, which is yet to be checked
        return function
    module = sys.modules[function.__module__]
    if "__getattr__" not in vars(module):
        _find_late(module)
    return _beartype(function)


def _find_late(module: ModuleType) -> None:
    """Let beartype find what a module imports for type checkers only, once a call needs it."""
    late = {
        name.asname or name.name: (node.module, name.name)
        for block in ast.parse(inspect.getsource(module)).body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block) if isinstance(node, ast.ImportFrom)
        for name in node.names
    }  # fmt: skip

    def find(name: str) -> Any:
        if name not in late:
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        where, attribute = late[name]
        return getattr(importlib.import_module(str(where)), attribute)

    if late:
        vars(module)["__getattr__"] = find

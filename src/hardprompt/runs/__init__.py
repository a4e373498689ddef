"""Searches, whole: in memory (``find_prompt``), and in a folder that can be killed, resumed and moved (``execute``)."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hardprompt.runs.folder import alone, begun, discard, read_recipe, read_result, read_yaml, start
    from hardprompt.runs.run import execute, prepare
    from hardprompt.runs.search import Search, find_prompt

# Each is imported on first use: what a folder holds is read without torch.
_NAMES = {
    "folder": ("alone", "begun", "discard", "read_recipe", "read_result", "read_yaml", "start"),
    "run": ("execute", "prepare"),
    "search": ("Search", "find_prompt"),
}
__all__ = [
    "Search", "alone", "begun", "discard", "execute", "find_prompt", "prepare", "read_recipe", "read_result",
    "read_yaml", "start",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    for module, names in _NAMES.items():
        if name in names:
            return getattr(importlib.import_module(f"hardprompt.runs.{module}"), name)
    raise AttributeError(f"module 'hardprompt.runs' has no attribute {name!r}")

"""Searches, whole: in memory (``find_prompt``), and in a folder that can be killed, resumed and moved (``execute``)."""

from hardprompt.runs.folder import alone, begun, discard, read_recipe, read_result, read_yaml, start
from hardprompt.runs.run import execute, prepare
from hardprompt.runs.search import Search, find_prompt

__all__ = [
    "Search", "alone", "begun", "discard", "execute", "find_prompt", "prepare", "read_recipe", "read_result",
    "read_yaml", "start",
]  # fmt: skip

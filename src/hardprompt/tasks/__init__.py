"""Tasks: each is one folder that holds all of it, from its settings to the table of its results, and no other task.

A task is two objects: its settings (``Settings``), which is what a user asks for, light enough for a command line; and
what they load (``Task``), which a search works with.
"""

from hardprompt.tasks.recipe import Recipe
from hardprompt.tasks.registry import TASKS, find
from hardprompt.tasks.settings import Settings, flag

__all__ = ["TASKS", "Recipe", "Settings", "find", "flag"]

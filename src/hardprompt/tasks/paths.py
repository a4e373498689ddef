"""Which settings of a task are paths: where its data and its local models lie."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from hardprompt.lms.own import is_own
from hardprompt.lms.roles import ROLES
from hardprompt.tasks.registry import find


def with_paths(task: str, values: Mapping[str, Any], change: Callable[[str, bool], str]) -> dict[str, Any]:
    """Some settings of a task, each of their paths changed.

    Args:
        task: the task's name.
        values: by name.
        change: from a path, and whether it is one of data, to what stands in its place.
    """
    roles = {field.name: field.metadata.get("role") for field in fields(find(task))}

    def changed(value: Any, role: Any) -> Any:
        if isinstance(value, list | tuple):
            return [changed(part, role) for part in value]
        if not (isinstance(value, str) and value and (role == "data" or (role in ROLES and is_local(value)))):
            return value
        return change(value, role == "data")

    return {name: changed(value, roles.get(name)) for name, value in values.items()}


def is_local(model: str) -> bool:
    """Whether a model's name is a path: one that was written down as such, or where there is a folder or GGUF file."""
    if is_own(model):
        return False
    path = Path(model).expanduser()
    return path.is_absolute() or path.is_dir() or (path.suffix == ".gguf" and path.is_file())


def anchored(path: str, data: bool) -> str:
    """The same path, from wherever one stands; ``~`` is a home only in the path of a model."""
    return str(Path.cwd() / (Path(path) if data else Path(path).expanduser()))

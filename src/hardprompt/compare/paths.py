"""The paths of data and models in a comparison's plan, wherever they stand there."""

from collections.abc import Callable, Mapping
from typing import Any

from hardprompt.tasks.paths import with_paths


def with_plan_paths(plan: Mapping[str, Any], change: Callable[[str, bool], str]) -> dict[str, Any]:
    """A plan as plain values with other paths; ``change`` is as in ``tasks.paths.with_paths``.

    What begins with a slot, such as ``{folder}``, is a path once the slot is filled.
    """

    def own(path: str, data: bool) -> str:
        return path if path.startswith("{") else change(path, data)

    def layer(values: Mapping[str, Any]) -> dict[str, Any]:
        return with_paths(plan["task"], values, own)

    def layers(named: Mapping[str, Any] | None) -> dict[str, Any]:
        return {name: layer(values) for name, values in (named or {}).items()}

    models = {
        name: {**layer(values), **({"data": layers(values["data"])} if "data" in values else {})}
        for name, values in plan["models"].items()
    }
    changed = {"settings": layer(plan["settings"]), "typed": layer(plan["typed"]), "models": models}
    changed |= {name: layers(plan[name]) for name in ("data", "methods")}
    return {**plan, **changed, "folder": None if plan["folder"] is None else own(plan["folder"], True)}

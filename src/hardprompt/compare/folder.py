"""The folder of a comparison: its plan, kept beside the cells so that it can be resumed and shown."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from hardprompt import optimizers
from hardprompt import tasks as commands
from hardprompt.compare.plan import Plan
from hardprompt.errors import InputError
from hardprompt.search.files import write_text
from hardprompt.tasks.settings import read_yaml

FILE = "compare.yaml"


def of_search(task: str, values: Mapping[str, Any]) -> Plan:
    """One search to be tried with several methods: on its own data, and with those methods that the task has all for.

    Raises:
        InputError: a setting that the task does not have.
    """
    settings = commands.find(task).settings
    plan = Plan(task=task, settings=dict(values), data={_called(values, settings.data): {}})
    known = {name: value for name, value in values.items() if value is not None}
    for needed in settings.missing(known):  # data may still be named beside it
        known[needed] = "-"
    config = settings.from_dict(known)
    fitting = [name for name in plan.methods if not any(map(config.lacking, optimizers.find(name).needs))]
    return plan.narrowed(methods=fitting)


def _called(values: Mapping[str, Any], names: Sequence[str]) -> str:
    """After the first file that a search is about."""
    first = next((values[name] for name in names if values.get(name)), "data")
    return Path(first if isinstance(first, str) else str(first[0])).stem


def start(plan: Plan, out: Path) -> None:
    """Make the folder and write the plan.

    Raises:
        InputError: the folder holds something already.
    """
    if (out / FILE).is_file():
        raise InputError(
            f"{str(out)!r} already holds a comparison; continue it with: hardprompt resume {out}, or name another."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{str(out)!r} exists and is not an empty folder; name another with --out.")
    out.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(plan.to_dict(), sort_keys=False, allow_unicode=True)
    write_text(out / FILE, f"# `hardprompt compare` with this file repeats the comparison.\n{text}")


def load(out: Path) -> Plan:
    """The plan in a comparison's folder.

    Raises:
        InputError: it cannot be read.
    """
    return Plan.from_dict(read_yaml(out / FILE))

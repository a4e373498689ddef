"""The folder of a comparison: its plan, kept beside the cells so that it can be resumed and shown."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import yaml

from hardprompt.compare.paths import with_plan_paths
from hardprompt.compare.plan import Plan
from hardprompt.errors import typed
from hardprompt.lms.revisions import check as check_revisions
from hardprompt.lms.revisions import current, pins
from hardprompt.runs.folder import COMPARISON, REVISIONS, check_links, check_version, make_folder, read_settings
from hardprompt.search.writing import write_text
from hardprompt.tasks.paths import anchored
from hardprompt.tasks.places import HOME
from hardprompt.version import __version__


def start(plan: Plan, out: Path, models: Iterable[str] = ()) -> Plan:
    """Make the folder and write the plan, with the state of these models, which every cell has; returns it with that.

    Raises:
        InputError: the folder holds something already.
    """
    make_folder(out, "comparison", COMPARISON)
    revisions = {**current(set(models) - plan.revisions.keys()), **plan.revisions}
    record = {
        **with_plan_paths(plan.to_dict(), anchored), REVISIONS: revisions, HOME: str(out.absolute()),
        "version": __version__,
    }  # fmt: skip
    text = yaml.safe_dump(record, sort_keys=False, allow_unicode=True)
    write_text(out / COMPARISON, f"# `hardprompt compare` with this file repeats the comparison.\n{text}")
    return dataclasses.replace(plan, revisions=pins(revisions))


def load(out: Path) -> Plan:
    """The plan in a comparison's folder, to go on with or to be shown.

    Raises:
        InputError: it cannot be read or is not trusted, or another version of the program began it.
    """
    check_links(out)
    values = read_settings(out / COMPARISON)
    check_version("comparison", out, values.get("version"), _again(out))
    return Plan.written(values, out)


def begun(out: Path) -> Plan:
    """The plan in a comparison's folder, to go on with.

    Raises:
        InputError: as ``load``, or a model cannot be had as it was.
    """
    plan = load(out)
    check_revisions(read_settings(out / COMPARISON).get(REVISIONS), _again(out))
    return plan


def _again(out: Path) -> str:
    return f"hardprompt compare {typed(out / COMPARISON)} --out NAME"

"""The folder of a comparison: its plan, kept beside the cells so that it can be resumed and shown."""

from pathlib import Path

import yaml

from hardprompt.compare.paths import with_plan_paths
from hardprompt.compare.plan import Plan
from hardprompt.errors import typed
from hardprompt.runs.folder import COMPARISON, check_links, check_version, make_folder, read_settings
from hardprompt.search.writing import write_text
from hardprompt.tasks.paths import anchored
from hardprompt.tasks.places import HOME
from hardprompt.version import __version__


def start(plan: Plan, out: Path) -> None:
    """Make the folder and write the plan.

    Raises:
        InputError: the folder holds something already.
    """
    make_folder(out, "comparison", COMPARISON)
    record = {**with_plan_paths(plan.to_dict(), anchored), HOME: str(out.absolute()), "version": __version__}
    text = yaml.safe_dump(record, sort_keys=False, allow_unicode=True)
    write_text(out / COMPARISON, f"# `hardprompt compare` with this file repeats the comparison.\n{text}")


def load(out: Path) -> Plan:
    """The plan in a comparison's folder, to go on with or to be shown.

    Raises:
        InputError: it cannot be read or is not trusted, or another version of the program began it.
    """
    check_links(out)
    values = read_settings(out / COMPARISON)
    check_version("comparison", out, values.get("version"), f"hardprompt compare {typed(out / COMPARISON)} --out NAME")
    return Plan.written(values, out)

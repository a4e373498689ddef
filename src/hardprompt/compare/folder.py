"""The folder of a comparison: its plan, kept beside the cells so that it can be resumed and shown."""

from pathlib import Path

import yaml

from hardprompt.compare.plan import Plan
from hardprompt.runs.folder import check_version, make_folder, read_yaml
from hardprompt.search.files import write_text
from hardprompt.version import __version__

FILE = "compare.yaml"


def start(plan: Plan, out: Path) -> None:
    """Make the folder and write the plan.

    Raises:
        InputError: the folder holds something already.
    """
    make_folder(out, "comparison", FILE)
    text = yaml.safe_dump({**plan.to_dict(), "version": __version__}, sort_keys=False, allow_unicode=True)
    write_text(out / FILE, f"# `hardprompt compare` with this file repeats the comparison.\n{text}")


def load(out: Path) -> Plan:
    """The plan in a comparison's folder, to go on with or to be shown.

    Raises:
        InputError: it cannot be read, or another version of the program began it.
    """
    values = read_yaml(out / FILE)
    check_version("comparison", out, values.get("version"), f"hardprompt compare {out / FILE} --out NAME")
    return Plan.from_dict(values)

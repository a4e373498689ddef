"""The folder of a comparison: its plan, kept beside the cells so that it can be resumed and shown."""

from pathlib import Path

import yaml

from hardprompt.compare.plan import Plan
from hardprompt.runs.folder import make_folder, read_yaml
from hardprompt.search.files import write_text

FILE = "compare.yaml"


def start(plan: Plan, out: Path) -> None:
    """Make the folder and write the plan.

    Raises:
        InputError: the folder holds something already.
    """
    make_folder(out, "comparison", FILE)
    text = yaml.safe_dump(plan.to_dict(), sort_keys=False, allow_unicode=True)
    write_text(out / FILE, f"# `hardprompt compare` with this file repeats the comparison.\n{text}")


def load(out: Path) -> Plan:
    """The plan in a comparison's folder.

    Raises:
        InputError: it cannot be read.
    """
    return Plan.from_dict(read_yaml(out / FILE))

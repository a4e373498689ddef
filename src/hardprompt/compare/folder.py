"""The folder of a comparison: its plan, kept beside the cells so that it can be resumed and shown."""

from pathlib import Path

import yaml

from hardprompt.compare.plan import Plan
from hardprompt.errors import InputError
from hardprompt.runs.folder import read_yaml
from hardprompt.search.files import write_text

FILE = "compare.yaml"


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

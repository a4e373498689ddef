"""Fills the comparison of docs/results.md and docs/compare.md: every method on four few-shot sets, the embedded model.

    python benchmarks/compare.py --folder FOLDER            # hours; goes on where it was stopped
    python benchmarks/compare.py --folder FOLDER --tables   # no search: from what is finished

It is ``hardprompt compare recipes/few-shot.yaml`` with a smaller budget; the folder is ``runs/compare-few-shot``.
"""

import argparse
import dataclasses
import shutil
import sys
from pathlib import Path

from pages import fill_from

from hardprompt.cli.main import main as program
from hardprompt.compare import cells as parts
from hardprompt.compare import folder, report
from hardprompt.search.files import write_json

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
METHODS = (
    "manual", "instruction", "demonstrations", "random", "best-of-n", "grips", "autoprompt", "gcg", "pez",
    "soft-prompt", "bbt", "rlprompt", "rlprompt-fluency", "rlprompt-rb", "rlprompt-rb-fluency", "pin",
    "pin-no-fluency", "pin-prior",
)  # fmt: skip
DATA = ("sst-2", "cr", "subj", "agnews")
BUDGET = ("--evaluations", "96", "--test-rows", "200")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default="../shared/data", help="of 16-shot/")
    parser.add_argument("--out", type=Path, default=Path("runs/compare-few-shot"))
    parser.add_argument("--tables", action="store_true", help="search nothing")
    arguments = parser.parse_args()
    if not arguments.tables:
        again = (arguments.out / folder.FILE).is_file()
        flags = ["--folder", arguments.folder, "--data", *DATA, "--methods", *METHODS, *BUDGET]
        recipe = str(ROOT / "recipes" / "few-shot.yaml")
        begun = ["resume", str(arguments.out)]
        code = program(begun if again else ["compare", recipe, *flags, "--out", str(arguments.out)])
        if code not in (0, 1):
            return code
    plan = folder.load(arguments.out)
    cells = plan.cells(arguments.out)
    left = {(cell.data, cell.split) for cell in parts.unfinished(cells)}
    whole = [cell for cell in cells if not {(cell.data, cell.split), (cell.data, "")} & left]
    shown = [data for data in plan.data if any(cell.data == data and cell.split for cell in whole)]
    cells = [cell for cell in whole if cell.data in shown]  # only splits on which every method is done
    result = report.write(dataclasses.replace(plan, reference="pin-prior"), cells, arguments.out)
    for block in result["summary"]["data"]:
        for row in block["rows"]:
            if row["method"] == "demonstrations":  # its prompts are texts of the data, which are not published
                row["prompt"] = None
    for name in result["figures"]:
        shutil.copy(arguments.out / name, DOCS / "figures" / f"compare-{name}")
    write_json(DOCS / "compare.json", result)
    for page in ("results.md", "compare.md"):
        fill_from(DOCS, page, "compare", result)
    print(result["cells"])
    return 0


if __name__ == "__main__":
    sys.exit(main())

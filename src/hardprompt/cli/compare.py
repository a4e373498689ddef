"""The command ``compare``: from flags to a folder of cells, and to the tables and figures that they make."""

import argparse
import dataclasses
import json
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardprompt.cli.flags import Parser, given
from hardprompt.cli.flags import add_flags as add_flags_of_task
from hardprompt.cli.interrupt import INTERRUPTED, finishing
from hardprompt.errors import InputError, RewardError, unknown

# Nothing heavy is imported up here: --help must answer at once.
if TYPE_CHECKING:
    from hardprompt.compare.plan import Plan


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "what", metavar="FILE|TASK",
        help="YAML file of a comparison, run.yaml of a search, or a task and then its own arguments",
    )  # fmt: skip
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="hardprompt methods lists them")
    parser.add_argument(
        "--data", nargs="+", metavar="NAME", help="of the file's data sets, or of the papers', as sst-2"
    )
    parser.add_argument(
        "--splits", nargs="+", metavar="NAME", help="such as 16-100: 16 texts a class, drawn by seed 100"
    )
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="of the searches (0 1 2)")
    parser.add_argument("--models", metavar="NAME", help="which of the file's sets of models")
    parser.add_argument("--folder", metavar="FOLDER", help="where the data lie (else the papers' come from the hub)")
    parser.add_argument("--test-rows", type=int, metavar="N", help="test texts of the papers' data sets (all)")
    parser.add_argument("--reference", metavar="NAME", help="method that the others are tested against (the best)")
    parser.add_argument("--evaluations", type=int, metavar="N", help="budget of every search")
    parser.add_argument("--workers", type=int, metavar="N", help="searches side by side (as cores and memory allow)")
    parser.add_argument("--out", metavar="FOLDER", help="where everything is kept (runs/compare-FILE)")
    parser.add_argument("--dry-run", action="store_true", help="check every cell and count them, run nothing")


def compare(arguments: argparse.Namespace) -> int:
    """Start a comparison; returns the exit code."""
    from hardprompt import tasks as commands
    from hardprompt.compare import folder as comparisons
    from hardprompt.compare.cells import affordable
    from hardprompt.compare.plan import Plan
    from hardprompt.search.files import unused

    if arguments.what in commands.COMMANDS:
        values = _typed_task(arguments.what, arguments.rest)
        if not arguments.data:  # which stand in the place of a file of the user's
            _check_whole(arguments.what, values)
        plan = comparisons.of_search(arguments.what, values)
    elif (Path(arguments.what) / "run.yaml").is_file():
        raise InputError(f"{arguments.what!r} is a run folder; compare its {str(Path(arguments.what) / 'run.yaml')!r}.")
    elif not Path(arguments.what).is_file() and Path(arguments.what).suffix not in (".yaml", ".yml"):
        raise unknown("task, or file that is not there:", arguments.what, commands.COMMANDS)
    elif arguments.rest:
        raise InputError(f"{arguments.rest[0]!r} is unknown here (see: hardprompt compare --help).")
    else:
        plan = Plan.read(Path(arguments.what))
    settings = {} if arguments.evaluations is None else {"evaluations": arguments.evaluations}
    if arguments.folder is not None and not Path(arguments.folder).is_dir():
        raise InputError(f"data folder {arguments.folder!r} does not exist.")
    for name in ("workers", "test_rows"):
        if getattr(arguments, name) is not None and getattr(arguments, name) < 1:
            raise InputError(f"{name} is {getattr(arguments, name)}; it must be at least 1.")
    plan = plan.narrowed(
        methods=arguments.methods, data=arguments.data, splits=arguments.splits, seeds=arguments.seeds,
        settings=settings, model=arguments.models, folder=arguments.folder, test=arguments.test_rows,
        workers=arguments.workers,
        reference=arguments.reference,
    )  # fmt: skip
    out = Path(arguments.out) if arguments.out else unused(Path(f"runs/compare-{Path(arguments.what).stem}"))
    with tempfile.TemporaryDirectory() as scratch:  # named data are written to be checked; nothing is left of a mistake
        cells = plan.cells(Path(scratch))
    if arguments.dry_run:
        said = {
            "out": str(out), "cells": len(cells), "evaluations_at_most": sum(c.config.evaluations for c in cells),
            "workers": arguments.workers or affordable(), "note": plan.note(),
            "methods": list(plan.methods), "data": list(plan.data), "splits": list(plan.splits),
            "seeds": list(plan.seeds),
        }  # fmt: skip
        print(json.dumps(said, ensure_ascii=False, indent=None if arguments.json else 2))
        return 0
    comparisons.start(plan, out)
    return _finish(out, plan, arguments.json)


def _check_whole(task: str, values: Mapping[str, Any]) -> None:
    """Raise an InputError where a task lacks what it is about."""
    from hardprompt.tasks import find

    settings = find(task).settings
    missing = settings.missing(values)
    if missing:
        positional = {field.name for field in dataclasses.fields(settings) if field.metadata.get("positional")}
        said = [name.upper() if name in positional else f"--{name.replace('_', '-')}" for name in missing]
        raise InputError(f"{', '.join(said)} is missing (see: hardprompt {task} --help), or --data.")


def resume(folder: Path, *, as_json: bool) -> int:
    """Go on with what is not finished of the comparison in a folder."""
    from hardprompt.compare import folder as comparisons

    return _finish(folder, comparisons.load(folder), as_json)


def _typed_task(task: str, rest: Sequence[str]) -> dict[str, Any]:
    """The settings of a task whose arguments follow those of ``compare``."""
    from hardprompt.tasks import find

    settings = find(task).settings
    parser = Parser(prog=f"hardprompt compare {task}", allow_abbrev=False)
    add_flags_of_task(parser, settings, whole=False)
    arguments, unknown_ones = parser.parse_known_args(rest)
    if unknown_ones:
        name = unknown_ones[0].partition("=")[0]
        if not name.startswith("-"):
            raise InputError(f"{name!r} is one argument too many (see: hardprompt compare --help).")
        own = Parser(add_help=False)
        add_flags(own)
        known = {*parser._option_string_actions, *own._option_string_actions} - {"--method", "--seed", "-h"}
        raise unknown(f"flag of hardprompt compare {task}", name, known)
    for name in ("method", "seed"):
        if hasattr(arguments, name):
            raise InputError(f"--{name} is of a single search; compare takes --{name}s.")
    return {name: value for name, value in given(arguments, settings).items() if value is not None}


def _finish(out: Path, plan: "Plan", as_json: bool) -> int:
    """Run what is not finished of a comparison and put the whole together."""
    from hardprompt.cli import present
    from hardprompt.compare import cells as parts
    from hardprompt.compare import folder, report
    from hardprompt.runs import run

    again = f"hardprompt resume {shlex.quote(str(out))}"
    with run.alone(out, folder.FILE):
        cells = plan.cells(out)
        waiting = parts.unfinished(cells)
        line = present.CountLine("compare", "cells", done=len(cells) - len(waiting), total=len(cells))
        try:
            with finishing() as asked, line.shown():
                for cell, error in parts.run_cells(
                    waiting, workers=plan.workers or parts.affordable(), interrupted=asked
                ):
                    line(cell.folder.name, error)
                stopped = asked()
        except KeyboardInterrupt:
            print(f"hardprompt: interrupted; continue with: {again}", file=sys.stderr)
            return INTERRUPTED
        if stopped:
            print(f"hardprompt: interrupted and saved; continue with: {again}", file=sys.stderr)
            return INTERRUPTED
        try:
            result = report.write(plan, cells, out)
        except RewardError:
            print(f"hardprompt: the comparison is kept; try again with: {again}", file=sys.stderr)
            raise
    present.print_result(result, as_json=as_json)
    failed = result["cells"]["failed"]
    if failed:
        print(f"hardprompt: {len(failed)} of {len(cells)} cells failed; try them again with: {again}", file=sys.stderr)
    print(f"hardprompt: everything is in {out}: README.md, table.csv, table.tex, the figures", file=sys.stderr)
    return 1 if failed else 0


def show(folder: Path, *, as_json: bool) -> int:
    """How far a comparison has come."""
    from hardprompt.compare import cells as parts
    from hardprompt.compare import folder as comparisons

    cells = comparisons.load(folder).cells(folder)
    done = len(cells) - len(parts.unfinished(cells))
    failed = {cell.folder.name: error for cell in cells if (error := parts.failure(cell)) is not None}
    if as_json:
        print(json.dumps({"finished": False, "cells": {"finished": done, "failed": failed, "of": len(cells)}}))
        return 0
    print(f"{folder} has not finished: {done} of {len(cells)} cells are done, {len(failed)} failed.")
    for name, error in failed.items():
        print(f"{name} failed: {error}")
    print(f"Continue it with: hardprompt resume {shlex.quote(str(folder))}")
    return 0

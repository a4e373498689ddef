"""`hardprompt compare`: from flags to a folder of cells, and to the tables and figures that they make."""

import argparse
import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hardprompt.cli.flags import Parser, add_compare_flags, add_flags, given
from hardprompt.cli.interrupt import INTERRUPTED, interruptible
from hardprompt.cli.show import print_parts
from hardprompt.cli.streams import print_json, say, tell
from hardprompt.compare import cells as cells_of
from hardprompt.compare import folder as folders
from hardprompt.compare.plan import Plan
from hardprompt.errors import InputError, RewardError, unknown
from hardprompt.runs import alone, read_result
from hardprompt.runs.folder import COMPARISON, check_free, resume_command
from hardprompt.search.plugins import trust
from hardprompt.search.writing import unused
from hardprompt.tasks import TASKS, find
from hardprompt.tasks.foreign import foreign

PLAN = COMPARISON


def begin(arguments: argparse.Namespace) -> int:
    """Start a comparison; returns the exit code."""
    values = _typed_task(arguments.what, arguments.rest) if arguments.what in TASKS else {}
    if not arguments.allow_code:  # what is typed is the user's own
        trust([*foreign(values), *(arguments.methods or ())])
    if arguments.what in TASKS:
        if not arguments.data:  # which stand in the place of a file of the user's
            _check_whole(arguments.what, values)
        plan = Plan.of_search(arguments.what, values)
    elif (Path(arguments.what) / "run.yaml").is_file():
        raise InputError(f"{arguments.what!r} is a run folder; compare its {str(Path(arguments.what) / 'run.yaml')!r}.")
    elif not Path(arguments.what).is_file() and Path(arguments.what).suffix not in (".yaml", ".yml"):
        raise unknown("task, or file that is not there:", arguments.what, TASKS)
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
    if not arguments.dry_run:
        check_free(out, "comparison", COMPARISON)
    with tempfile.TemporaryDirectory() as scratch:  # named data are written to be checked; nothing is left of a mistake
        cells = plan.cells(Path(scratch))
    if arguments.dry_run:
        said = {
            "out": str(out), "cells": len(cells),
            "evaluations_at_most": sum(cell.recipe.values["evaluations"] for cell in cells),
            "workers": arguments.workers or cells_of.affordable(), "note": plan.note(),
            "methods": list(plan.methods), "data": list(plan.data), "splits": list(plan.splits),
            "seeds": list(plan.seeds),
        }  # fmt: skip
        print_json(said, indent=None if arguments.json else 2)
        return 0
    for cell in cells:
        cell.recipe.check_there()
    plan = folders.start(plan, out, [name for cell in cells for name in cell.recipe.loaded])
    return _finish(out, plan, arguments.json)


def _check_whole(task: str, values: Mapping[str, Any]) -> None:
    """Raise an InputError where a task lacks what it is about."""
    settings = find(task)
    missing = settings.missing(values)
    if missing:
        positional = {field.name for field in dataclasses.fields(settings) if field.metadata.get("positional")}
        said = [name.upper() if name in positional else f"--{name.replace('_', '-')}" for name in missing]
        raise InputError(f"{', '.join(said)} is missing (see: hardprompt {task} --help), or --data.")


def finished(folder: Path) -> bool:
    """Whether nothing is left to do, and nothing to try again."""
    result = read_result(folder)
    return result is not None and not result["cells"]["failed"]


def resume(folder: Path, *, as_json: bool, workers: int | None = None) -> int:
    """Go on with what is not finished of the comparison in a folder, with its own number of workers or another."""
    return _finish(folder, folders.begun(folder).narrowed(workers=workers), as_json)


def _typed_task(task: str, rest: Sequence[str]) -> dict[str, Any]:
    """The settings of a task whose arguments follow those of ``compare``."""
    settings = find(task)
    parser = Parser(prog=f"hardprompt compare {task}", allow_abbrev=False)
    add_flags(parser, settings, whole=False)
    arguments, unknown_ones = parser.parse_known_args(rest)
    if unknown_ones:
        name = unknown_ones[0].partition("=")[0]
        if not name.startswith("-"):
            raise InputError(f"{name!r} is one argument too many (see: hardprompt compare --help).")
        own = Parser(add_help=False)
        add_compare_flags(own)
        known = {*parser._option_string_actions, *own._option_string_actions} - {"--method", "--seed", "-h"}
        raise unknown(f"flag of hardprompt compare {task}", name, known)
    for name in ("method", "seed"):
        if name in arguments:
            raise InputError(f"--{name} is of a single search; compare takes --{name}s.")
    return {name: value for name, value in given(arguments, settings).items() if value is not None}


def _finish(out: Path, plan: Plan, as_json: bool) -> int:
    """Run what is not finished of a comparison and put the whole together."""
    from hardprompt.cli.live import CountLine
    from hardprompt.compare import report, tables  # only now: scipy and statsmodels take a second

    again = resume_command(out)
    with alone(out):
        cells = plan.cells(out)
        waiting = cells_of.unfinished(cells)
        line = CountLine("compare", "cells", done=len(cells) - len(waiting), total=len(cells))
        try:
            with interruptible(), line.shown():
                for cell, error in cells_of.run_cells(waiting, workers=plan.workers or cells_of.affordable()):
                    line(cell.folder.name, error)
        except KeyboardInterrupt:
            say(f"interrupted and saved; continue with: {again}")
            return INTERRUPTED
        try:
            result = report.write(plan, cells, out)
        except RewardError:
            say(f"the comparison is kept; try again with: {again}")
            raise
    print_parts(result, tables.show(result["summary"]), as_json=as_json)
    failed = result["cells"]["failed"]
    if failed:
        say(f"{len(failed)} of {len(cells)} cells failed; try them again with: {again}")
    say(f"everything is in {out}: README.md, table.csv, table.tex, the figures")
    return 1 if failed else 0


def show(folder: Path, *, as_json: bool) -> int:
    """The tables of a comparison, or how far it has come."""
    result = read_result(folder)
    if result is not None:
        from hardprompt.compare import tables

        print_parts(result, tables.show(result["summary"]), as_json=as_json)
        return 0
    cells = folders.load(folder).cells(folder)
    done = len(cells) - len(cells_of.unfinished(cells))
    failed = {cell.folder.name: error for cell in cells if (error := cells_of.failure(cell)) is not None}
    if as_json:
        print_json({"finished": False, "cells": {"finished": done, "failed": failed, "of": len(cells)}})
        return 0
    tell(f"{folder} has not finished: {done} of {len(cells)} cells are done, {len(failed)} failed.")
    for name, error in failed.items():
        tell(f"{name} failed: {error}")
    tell(f"Continue it with: {resume_command(folder)}")
    return 0

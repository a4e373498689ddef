"""What a comparison leaves: tables, tests and figures of every cell that is finished, and what failed."""

import dataclasses
import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hardprompt.compare import figures, tables
from hardprompt.compare.cells import failure
from hardprompt.compare.plan import Cell, Plan
from hardprompt.compare.statistics import Outcome
from hardprompt.data.markdown import code, plain
from hardprompt.errors import MissingExtra, RewardError
from hardprompt.runs.folder import RESULT
from hardprompt.runs.steps import read_steps
from hardprompt.runs.versions import versions
from hardprompt.search.writing import write_json, write_text
from hardprompt.tasks.recipe import figure, headline, items

_LOG = logging.getLogger(__name__)


def outcome(cell: Cell) -> tuple[Outcome, list[str]]:
    """What a finished cell found, and the test items that it was tested on."""
    result = json.loads((cell.folder / RESULT).read_text(encoding="utf-8"))
    tested = items(cell.recipe.task, cell.folder)
    found = Outcome(
        data=cell.data, split=cell.split, method=cell.method, seed=cell.seed, sown=cell.sown,
        score=headline(result), items=None if tested is None else tuple(tested["score"]),
        passes=result["gradient_passes"],
        curve=tuple((step["evaluations"], step["best_reward"]) for step in read_steps(cell.folder)),
        **{name: result[name] for name in ("prompt", "perplexity", "evaluations", "seconds")},
    )  # fmt: skip
    return found, [] if tested is None else tested["text"]


def write(plan: Plan, cells: Sequence[Cell], out: Path) -> dict[str, Any]:
    """Write ``result.json``, tables and figures of what is finished; returns the result.

    Raises:
        RewardError: no cell is finished.
    """
    found = _aligned([outcome(cell) for cell in cells if (cell.folder / RESULT).is_file()])
    failed = {cell.folder.name: error for cell in cells if (error := failure(cell)) is not None}
    if not found:
        first = next((f"; {name} failed: {error}" for name, error in failed.items()), ".")
        raise RewardError(f"no cell of the comparison is finished{first}")
    shown, _ = figure(plan.task)
    claims = {method: {d: float(v) for d, v in own.items()} for method, own in plan.claims.items()}
    reference, notes = plan.reference, [plan.note()]
    if reference is not None and all(one.method != reference for one in found):
        _LOG.warning("no cell of the reference %r is finished; the tests are against the best method", reference)
        reference = None
    if reference is None:
        notes.append("The reference of the tests is the best here by mean rank, so they flatter it.")
    note = " ".join(filter(None, notes)) or None
    made = tables.summary(found, headline=shown, reference=reference, claims=claims, note=note)
    try:
        drawn = figures.draw(found, out, headline=shown)
    except MissingExtra as error:
        drawn = []
        _LOG.warning("no figures: %s", error)
    rows, tests = tables.csv_rows(made)
    write_text(out / "table.csv", rows)
    write_text(out / "tests.csv", tests)
    write_text(out / "table.tex", tables.latex(made))
    write_text(out / "README.md", _page(plan, made, drawn, failed, len(cells)))
    result = {
        "task": "compare", "compared": plan.task, "title": plan.title,
        "cells": {"finished": len(found), "failed": failed, "of": len(cells)}, "summary": made, "figures": drawn,
        "versions": versions(),
    }  # fmt: skip
    write_json(out / "result.json", result)
    return result


def _aligned(found: Sequence[tuple[Outcome, list[str]]]) -> list[Outcome]:
    """The outcomes, without the figures of single texts where a data set's were not all tested on the same ones."""
    sets = {(one.data, tuple(tested)) for one, tested in found}
    uneven = {data for data, times in Counter(data for data, _ in sets).items() if times > 1}
    if uneven:
        _LOG.warning("the searches on %s were tested on different texts: tests are by run", ", ".join(sorted(uneven)))
    return [dataclasses.replace(one, items=None) if one.data in uneven else one for one, _ in found]


def _page(plan: Plan, made: dict[str, Any], drawn: Sequence[str], failed: dict[str, str], cells: int) -> str:
    title = plan.title or f"A comparison of {plan.task}"
    source = f"Protocol: {plain(plan.source)}.\n\n" if plan.source else ""
    pictures = "".join(f"![{Path(name).stem}]({name})\n\n" for name in drawn)
    lost = "".join(f"- {code(name)}: {plain(error)}\n" for name, error in failed.items())
    return (
        f"# {plain(title)}\n\n{source}{tables.markdown(made)}\n{pictures}"
        + (f"## Failed\n\n{lost}\n" if failed else "")
        + f"{cells} cells; each has its run folder in `cells`. Every setting is in `compare.yaml`, every number in "
        "`table.csv`, `tests.csv` and `result.json`.\n"
    )

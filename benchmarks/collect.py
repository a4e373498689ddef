"""From the cells of comparisons to the values that docs/*.json publish: what was found, and how its tests went."""

import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pages import DIRECTIONS, TASK_MODELS, tested_on

from hardprompt.compare import folder as folders
from hardprompt.compare.plan import Cell
from hardprompt.data.files import columns
from hardprompt.runs import read_result
from hardprompt.runs.steps import read_steps
from hardprompt.tasks.recipe import items

_PRIVATE = ("versions", "images", "examples")  # of a result: machines, paths and texts of the data


def results(outs: Sequence[Path], known: dict[str, Any]) -> dict[str, Any]:
    """docs/results.json: each search with its curve and validated prompts, each test text of each prompt.

    What is known stays where nothing was measured on the same test set; else it is not on the same texts, perhaps.
    """
    cells: list[dict[str, Any]] = []
    right: dict[str, dict[str, str]] = {}
    perplexity: dict[str, float | None] = {}
    for cell, result in (pair for out in outs for pair in _finished(out)):
        method, prompt = result["method"], result["prompt"]
        one = _search(cell, result)
        if method not in ("manual", "instruction"):
            cells.append(one)
        tested = items(result["task"], cell.folder)
        assert tested is not None
        right.setdefault(tested_on(one), {})[prompt] = "".join("1" if score else "0" for score in tested["score"])
        perplexity[prompt] = result["perplexity"]
    before = known["tested"]["tested.json"]
    stay = [cell for cell in known["cells"] if tested_on(cell) not in right]
    tested = {"right": {**before["right"], **right}, "perplexity": {**before["perplexity"], **perplexity}}
    return {"cells": sorted([*stay, *cells], key=lambda c: c["folder"]), "tested": {"tested.json": tested}}


def _search(cell: Cell, result: dict[str, Any]) -> dict[str, Any]:
    values, steps = cell.recipe.values, read_steps(cell.folder)
    settings = values["settings"]
    key = {
        "data": cell.data, "split": cell.split or str(cell.seed), "method": result["method"], "settings": settings,
        "evaluations": values["evaluations"],
    }  # fmt: skip
    name = "-".join([key["method"], *(f"{k}={v}" for k, v in sorted(settings.items())), str(key["evaluations"])])
    found = columns(cell.folder / "prompts.csv", "prompt", "validation")
    validated = [(prompt, float(validation)) for prompt, validation in found if validation]
    return {
        **key, **{k: result[k] for k in ("prompt", "validation", "seconds", "precision", "distinct")},
        "best_reward": steps[-1]["best_reward"],
        "curve": [
            {"evaluations": s["evaluations"], "mean": statistics.fmean(s["rewards"]), "best": s["best_reward"],
             "support": s["log"].get("support_size")}
            for s in steps if s["rewards"]
        ],
        "trials": validated, "folder": f"{key['data']}/{key['split']}/{name}",
    }  # fmt: skip


def tasks(outs: Sequence[Path], known: dict[str, Any]) -> dict[str, Any]:
    """docs/tasks.json: the result and the curve of each cell of style transfer and of pictures."""
    found = {task: dict(cells) for task, cells in known.items()}
    for out in outs:
        new = dict(_named(cell, result) for cell, result in _finished(out))
        for (task, name), result in new.items():
            found.setdefault(task, {})[name] = result
    return found


def _named(cell: Cell, result: dict[str, Any]) -> tuple[tuple[str, str], dict[str, Any]]:
    data = cell.data
    if result["task"] == "restyle":
        model = cell.recipe.values["task_model"]
        data = next(prefix for prefix, (name, *_) in TASK_MODELS.items() if name == model) + "to".join(DIRECTIONS[data])
    curve = [[s["evaluations"], statistics.fmean(s["rewards"]), s["best_reward"]] for s in read_steps(cell.folder)]
    kept = {key: value for key, value in result.items() if key not in _PRIVATE}
    return (result["task"], f"{data}-{result['method']}-{result['seed']}"), {**kept, "curve": curve}


def comparison(out: Path) -> dict[str, Any]:
    """docs/compare.json: the result of a comparison, without the texts of the data that a prompt holds."""
    found: dict[str, Any] = json.loads((out / "result.json").read_text(encoding="utf-8"))
    for block in found["summary"]["data"]:
        for row in block["rows"]:
            if row["method"] == "demonstrations":
                row["prompt"] = None
    return found


def _finished(out: Path) -> Iterator[tuple[Cell, dict[str, Any]]]:
    for cell in folders.load(out).cells(out):
        result = read_result(cell.folder) if (cell.folder / "run.yaml").is_file() else None
        if result is not None:
            yield cell, result

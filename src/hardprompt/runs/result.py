"""What a finished search leaves: its result, the table of its prompts, and what a person has to know of it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardprompt.data.files import csv_text
from hardprompt.data.markdown import code, link
from hardprompt.runs.versions import versions
from hardprompt.search.writing import write_json, write_text
from hardprompt.tasks import Recipe
from hardprompt.tasks.judging import judge_of
from hardprompt.tasks.recipe import headline, tested

if TYPE_CHECKING:
    from hardprompt.lms.models import Models
    from hardprompt.runs.search import Search
    from hardprompt.search.engine import Result

_HEAD = ("prompt", "train_reward", "validation", "test", "perplexity", "evaluations")


def report(
    recipe: Recipe, search: "Search", outcome: "Result", models: "Models", support: float | None
) -> dict[str, Any]:
    """Everything that ``result.json`` holds: the task's own part, and what is the same for every task.

    ``outcome`` has the chosen prompt; ``support`` is the size of the last policy's support, if it has one.
    """
    task = search.task
    distinct = task.reward.scored  # before a task asks its reward about other prompts
    part = task.report(outcome.best.prompt)
    shown = task.shown(outcome.best.prompt)
    rows = part["baselines"]
    verdict = part.get("verdict") or {"candidates": []}
    others = [row["prompt"] for row in (*rows, *verdict["candidates"]) if row["prompt"] not in (None, shown)]
    prompts = [shown] * part.get("readable", True) + others
    perplexity, judge = _perplexity(list(dict.fromkeys(prompts)), recipe, search, models)

    def with_perplexity(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [{**row, "perplexity": perplexity.get(row["prompt"])} for row in rows]

    return {
        "task": recipe.task,
        "method": recipe.values["method"],
        "seed": recipe.values["seed"],
        "prompt": shown,
        "evaluations": outcome.evaluations,
        "gradient_passes": outcome.passes,
        "distinct": distinct,
        "seconds": round(outcome.seconds, 1),
        "stopped": outcome.stopped,
        "support_size": support,
        "perplexity": perplexity.get(shown),
        "perplexity_by": judge,
        "validation": outcome.best.score,
        "validation_best": max((trial.score for trial in outcome.trials), default=outcome.best.score),
        "precision": task.precision,
        **part,
        "baselines": with_perplexity(rows),
        **(
            {"verdict": {**verdict, "candidates": with_perplexity(verdict["candidates"])}}
            if part.get("verdict")
            else {}
        ),
        "revisions": dict(recipe.revisions),
        "versions": versions(),
    }


def prompts_csv(search: "Search", outcome: "Result", result: Mapping[str, Any]) -> str:
    """Every prompt that was validated, the best first, and the baselines."""
    task, rows = search.task, []
    for trial in sorted(outcome.trials, key=lambda t: -t.score):
        best, reward = trial.prompt == outcome.best.prompt, task.reward.recall(trial.prompt)
        rows.append([
            task.shown(trial.prompt), "" if reward is None else reward, trial.score,
            headline(result) if best else "", result["perplexity"] if best else "", outcome.evaluations,
        ])  # fmt: skip
    for row in result["baselines"]:
        if row["prompt"] is not None:  # the copied input, say, is no prompt
            figure = tested(result["task"], row["test"])
            rows.append([row["prompt"], "", "", figure, row["perplexity"], row["evaluations"]])
    return csv_text(_HEAD, rows)


def behind(result: Mapping[str, Any]) -> str | None:
    """A plain word where something that was not searched for scores higher than the found prompt."""
    if "runs" in result:  # each of which says so itself
        return None
    task, found = result["task"], result["test"]
    rows = [row for row in result["baselines"] if tested(task, row["test"]) > tested(task, found)]
    if not rows:
        return None
    best = max(rows, key=lambda row: tested(task, row["test"]))
    behind_by = f"{tested(task, found):.3f} against {tested(task, best['test']):.3f}"
    low, high = result.get("difference_to_manual", {}).get("interval", (1.0, 1.0))
    if best["name"] == "manual" and low <= 0.0 <= high:
        return f"The found prompt is behind 'manual': {behind_by}, which these test texts do not tell apart."
    learned = result["evaluations"] > 1 and "train" in result.get("texts", {})
    mend = " More evaluations or more training texts may mend that." if learned else ""
    return f"The found prompt is behind {best['name']!r}: {behind_by}.{mend}"


def page(card: str, result: Mapping[str, Any]) -> str:
    """The run folder's README.md around a task's card."""
    worse = behind(result)
    return (f"{card}\n{worse}\n" if worse else card) + (
        f"\nFound by `{result['method']}` with {result['evaluations']} evaluations, seed {result['seed']}; "
        f"every setting is in `run.yaml`, every step in `steps.jsonl`, all numbers in `result.json`.\n"
    )


def combine(out: Path, results: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Several runs, by the names of their folders, as one result in the folder above them."""
    first = next(iter(results.values()))
    whole = {
        **{key: first[key] for key in ("task", "method", "seed")},
        "runs": [{"folder": name, **result} for name, result in results.items()],
        "versions": versions(),
    }
    links = "".join(
        f"- {link(name, f'{name}/README.md')}: {code(result['prompt'])}\n" for name, result in results.items()
    )
    write_text(out / "README.md", f"# {len(results)} prompts\n\n{links}")
    write_json(out / "result.json", whole)
    return whole


def _perplexity(
    prompts: list[str], recipe: Recipe, search: "Search", models: "Models"
) -> tuple[dict[str, float | None], str]:
    """Perplexity of each prompt under the judge, or under the policy model where the judge is absent, and by whom."""
    judge, name = judge_of(
        models, recipe.values["judge"], policy_lm=search.policy_lm, policy_model=recipe.values["policy_model"],
        what="perplexity",
    )  # fmt: skip
    # A text of its own, without the space that joins it to a template.
    values = judge.perplexity([prompt.strip() for prompt in prompts]).tolist()
    if name in recipe.models:
        name = f"{name} (took part in the search)"
    return {p: v if math.isfinite(v) else None for p, v in zip(prompts, values, strict=True)}, name

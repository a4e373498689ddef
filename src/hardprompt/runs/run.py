"""A search in a folder: run or continued, killed and resumed at will, and what it leaves there."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from hardprompt.errors import InputError
from hardprompt.lms.models import Models
from hardprompt.runs.folder import RESULT, alone
from hardprompt.runs.result import page, prompts_csv, report
from hardprompt.runs.search import Search
from hardprompt.runs.steps import StepLog
from hardprompt.search.engine import Progress, Step
from hardprompt.search.files import StateStore
from hardprompt.search.writing import write_json, write_text
from hardprompt.tasks import Recipe
from hardprompt.tasks.protocol import Notify


def prepare(recipe: Recipe, notify: Notify = lambda _: None, *, models: Models | None = None) -> Search:
    """Load the models and the data of a recipe, and put its search together.

    Raises:
        InputError: anything about data, task, models or settings.
    """
    models = (Models(keep=True) if models is None else models).pinned(recipe.revisions)
    recipe.check_models()  # before any is loaded
    if recipe.values["threads"]:
        torch.set_num_threads(recipe.values["threads"])
    name = recipe.values["policy_model"]
    notify(f"loading the policy model {name}")
    policy_lm = models.causal(name)
    return Search(recipe.load(models, policy_lm, notify), policy_lm=policy_lm, **recipe.search)


def execute(
    out: Path,
    recipe: Recipe,
    *,
    callbacks: Sequence[Callable[[Step], None]] = (),
    interrupted: Callable[[], bool] = lambda: False,
    notify: Notify = lambda _: None,
    models: Models | None = None,
) -> dict[str, Any] | None:
    """Run, or continue, what ``start`` laid out in ``out``; returns the result, or None when interrupted.

    Args:
        out: the run folder.
        recipe: as ``start`` or ``begun`` gave it.
        callbacks: called after every step.
        interrupted: asked after every step; when true the run saves and stops.
        notify: says what is being waited for.
        models: loads models; a process that runs several searches keeps them in one.

    Raises:
        InputError: as ``prepare``, or the checkpoint does not fit.
        RewardError: the reward broke its contract.
    """
    models = Models(keep=True) if models is None else models
    with alone(out):
        search = prepare(recipe, notify, models=models)
        task = search.task
        store = StateStore(out / "checkpoint")
        progress = _restored(out, search, store.load())
        if progress.step:
            notify(f"continuing after step {progress.step}")
        if interrupted():
            return None
        log = StepLog(out, keep=progress.step)

        def save(at: Progress) -> None:
            store.save(at.step, {"precision": task.precision, "progress": at.state_dict(), **search.state_dict()})

        def tell_all(step: Step) -> None:
            counted = dataclasses.replace(step, log={**step.log, "cache_hits": float(task.reward.hits)})
            log(counted)
            for callback in callbacks:
                callback(counted)

        found = search.run(
            **recipe.budget, callbacks=(tell_all,), progress=progress, save=save,
            save_every=recipe.values["save_every"], interrupted=interrupted,
        )  # fmt: skip
        if found.stopped == "interrupt" or interrupted():
            return None
        notify(f"testing {task.shown(found.best.prompt)!r}")
        result = report(recipe, search, found, models, log.last_support)
        task.write(out)
        write_text(out / "prompts.csv", prompts_csv(search, found, result))
        write_text(out / "README.md", page(task.card(result), result))
        write_json(out / RESULT, result)  # last: a run with a result is never run again
        return result


def _restored(out: Path, search: Search, state: dict[str, Any] | None) -> Progress:
    """Where a search stands, itself brought to the state that belongs to it.

    Raises:
        InputError: the state is of another precision, or does not fit.
    """
    progress = Progress()
    if state is None:
        return progress
    if state.get("precision") != search.task.precision:
        raise InputError(
            f"the run began in {state.get('precision')} and this machine would go on in {search.task.precision}; "
            "resume it on a machine like the first."
        )
    try:
        progress.load_state_dict(state["progress"])
        search.load_state_dict(state)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"the checkpoint in {str(out)!r} does not fit its run.yaml: {error}.") from error
    return progress

"""A search in a folder: run or continued, killed and resumed at will, and what it leaves there."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from hardprompt.errors import InputError, RewardError
from hardprompt.lms.models import Models
from hardprompt.runs.folder import RESULT, alone
from hardprompt.runs.result import page, prompts_csv, report
from hardprompt.runs.search import Search
from hardprompt.runs.steps import StepLog
from hardprompt.search.engine import Progress, Step
from hardprompt.search.files import StateStore
from hardprompt.search.forecast import LONG, Expected, Forecast, expect
from hardprompt.search.stopping import finished
from hardprompt.search.work import Work
from hardprompt.search.writing import write_json, write_text
from hardprompt.tasks import Recipe
from hardprompt.tasks.protocol import Notify, Staged, Task

PARTIAL = "partial"
"""Folder of what was scored since the checkpoint, until the run ends."""


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
    forecast: Forecast | None = None,
    notify: Notify = lambda _: None,
    models: Models | None = None,
) -> dict[str, Any]:
    """Run, or continue, what ``start`` laid out in ``out``; returns the result.

    It can be stopped at any moment, by KeyboardInterrupt or with its process, and goes on from the last checkpoint and
    what was scored since, to the same result.

    Args:
        out: the run folder.
        recipe: as ``start`` or ``begun`` gave it.
        callbacks: called after every step.
        forecast: is told what is done; the time is estimated for it before the first step.
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
        work = task.work if isinstance(task, Staged) else Work()
        work.keep_in(out / PARTIAL)
        if forecast is not None:
            callbacks = (forecast, *callbacks)
            _estimate(recipe, task, progress, forecast, notify)
            work.watch(forecast.scored)
        log = StepLog(out, keep=progress.step)

        def save(at: Progress) -> None:
            with finished():
                store.save(at.step, {"precision": task.precision, "progress": at.state_dict(), **search.state_dict()})
                work.forget()

        def tell_all(step: Step) -> None:
            counted = dataclasses.replace(step, log={**step.log, "cache_hits": float(task.reward.hits)})
            log(counted)
            for callback in callbacks:
                callback(counted)

        try:
            found = search.run(
                **recipe.budget, callbacks=(tell_all,), progress=progress, save=save,
                save_every=recipe.values["save_every"], clock=lambda: time.monotonic() + work.borrowed,
            )  # fmt: skip
            notify(f"testing {task.shown(found.best.prompt)!r}")
            result = report(recipe, search, found, models, log.last_support)
        except (KeyboardInterrupt, RewardError):
            work.save()
            raise
        with finished():
            task.write(out)
            write_text(out / "prompts.csv", prompts_csv(search, found, result))
            write_text(out / "README.md", page(task.card(result), result))
            write_json(out / RESULT, result)  # last: a run with a result is never run again
        work.end()
        return result


def _estimate(recipe: Recipe, task: Task, progress: Progress, forecast: Forecast, notify: Notify) -> None:
    """Say how long the run will take, and what would shorten one that takes long."""
    used = min(1.0, progress.evaluations / recipe.values["evaluations"])
    stages = task.stages if isinstance(task, Staged) else None
    if stages is None:
        forecast.begin(None, used=used)
        return

    def expected(pair: float | None = None) -> Expected | None:
        return expect(
            stages, evaluations=recipe.values["evaluations"], validate_every=recipe.values["validate_every"],
            length=recipe.values["length"], used=used, seconds=pair,
        )  # fmt: skip

    def say(found: Expected) -> None:
        notify(found.said())
        if sum(found.seconds.values()) > LONG:
            notify(f"for a shorter run lower {', '.join(('--evaluations', *stages.lower))}")

    if not stages.free:
        notify("how long it takes is estimated once the first scores are made: the model is not asked for more")
        forecast.begin(None, used=used)
        forecast.wait(expected, say)
        return
    forecast.begin(found := expected(), used=used)
    if found is not None:
        say(found)


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

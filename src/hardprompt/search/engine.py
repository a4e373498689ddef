"""One loop for every optimizer, task and backend: ask, score, tell, validate, checkpoint."""

import inspect
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.errors import HardpromptError, InputError, RewardError
from hardprompt.search.budget import Budget
from hardprompt.search.files import Past
from hardprompt.search.rewards import ItemReward, Memoised, Reward
from hardprompt.search.seen import keep_best

_UNSAVED = 15.0  # seconds after which a step saves, whatever its number
EVERYTHING = 1_000_000_000
"""Room for whatever a method likes to propose."""


@dataclass(frozen=True)
class Proposal:
    """Prompts to be scored; ``memo`` is handed back to ``tell`` untouched (token ids, say).

    ``passes`` counts the passes through the training set that were made to propose them, such as for gradients: each
    is an evaluation, too.
    """

    prompts: list[str]
    memo: Any = None
    passes: int = 0


@runtime_checkable
class PromptOptimizer(Protocol):
    """Proposes prompts and learns from their rewards; never sees validation or test."""

    def ask(self, room: int = EVERYTHING) -> Proposal:
        """Prompts to be scored next, which cost at most ``room`` evaluations, gradient passes included.

        None when there is nothing left to try, or nothing that fits.
        """

    def tell(self, proposal: Proposal, rewards: Float[Tensor, " n"]) -> dict[str, float]:
        """Learn from the rewards of a proposal; returns numbers for the log."""

    def recommend(self) -> list[str]:
        """The prompts that it would stand by now; they are validated."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that an exact resume needs, of dicts, lists, strings, numbers, None and tensors."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""


@dataclass(frozen=True)
class Trial:
    """One recommendation with the score that it is chosen by: validation, or the training reward without one."""

    step: int
    prompt: str
    score: float


@dataclass(frozen=True)
class Step:
    """What one step did, for callbacks and logs.

    ``rewards`` belong to ``prompts``; ``evaluations``, ``passes`` (those among them that were no prompt scored) and
    ``seconds`` count from the start of the run, a resumed run's earlier part included; ``fraction`` is how much of the
    budget is used, in [0, 1].
    """

    number: int
    prompts: list[str]
    rewards: list[float]
    evaluations: int
    seconds: float
    fraction: float
    log: dict[str, float]
    best_reward: float
    best: Trial | None
    passes: int = 0


@dataclass(frozen=True)
class Result:
    """The outcome of a run; ``best`` is the trial with the highest score, the earliest among equals."""

    best: Trial
    trials: list[Trial]
    evaluations: int
    seconds: float = 0.0
    stopped: str = "evaluations"  # or "seconds", "interrupt", "nothing left to try"
    passes: int = 0


@dataclass
class Progress:
    """Where a run stands; with the optimizer's state it is all that a checkpoint needs."""

    step: int = 0
    evaluations: int = 0
    seconds: float = 0.0
    best_reward: float = -math.inf
    best_prompt: str = ""
    trials: list[Trial] = field(default_factory=list)
    passes: int = 0  # evaluations that were no prompt scored

    def state_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {**vars(self), "trials": Past(self.trials, lambda t: [t.step, t.prompt, t.score])}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        vars(self).update({**state, "trials": [Trial(*t) for t in state["trials"]]})


def optimize(
    optimizer: PromptOptimizer,
    reward: Reward,
    *,
    evaluations: int,
    seconds: float | None = None,
    validate: Reward | None = None,
    validate_every: int = 10,
    callbacks: Sequence[Callable[[Step], None]] = (),
    progress: Progress | None = None,
    save: Callable[[Progress], None] | None = None,
    save_every: int = 10,
    interrupted: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = lambda: time.monotonic(),
) -> Result:
    """Search until the budget is spent and return the best trial.

    An evaluation is one prompt asked for, also when the reward remembers it, or one pass through the training set that
    the optimizer made for itself, such as for gradients. The optimizer is told how many are left, and no more are ever
    spent; its last step is as large as what is left. Scores of recommendations are evaluations only where the training
    reward gives them and does not remember them. A search ends early when the optimizer proposes nothing.

    Args:
        optimizer: proposes prompts.
        reward: of the training data; called once per step.
        evaluations: budget, in prompts scored.
        seconds: budget, in seconds of this run (earlier parts of a resumed run included).
        validate: scores recommendations; without it the training reward chooses.
        validate_every: steps between two validations; the last step always validates.
        callbacks: called after every step.
        progress: where an earlier part of this run stopped; the optimizer must hold the state that belongs to it.
        save: writes a checkpoint.
        save_every: steps between two checkpoints, or fewer that took long; the end saves too.
        interrupted: asked after every step; when true the run saves and stops.
        clock: in seconds; what an earlier process did and this one need not do again may count in it.

    Raises:
        InputError: a budget below 1, or one that is too small for the optimizer's first step.
        RewardError: the reward raised, or returned the wrong number of values or one that is not finite.
    """
    if evaluations < 1 or validate_every < 1 or save_every < 1:
        raise InputError(
            f"evaluations={evaluations}, validate_every={validate_every}, save_every={save_every}: each must be >= 1."
        )
    if not inspect.signature(optimizer.ask).parameters:
        name = type(optimizer).__name__
        raise InputError(
            f"{name}.ask() takes no argument; it is told how many evaluations are left: def ask(self, room)."
        )
    at = progress if progress is not None else Progress()
    items = reward.items if isinstance(reward, ItemReward) else 1
    budget = Budget(evaluations, items=items, seconds=seconds, pairs=at.evaluations * items, passes=at.passes)
    saved = clock()
    began = saved - at.seconds
    scored = {trial.prompt for trial in at.trials}
    width = 0  # evaluations of the latest step
    met: dict[str, float] = {}  # rewards of this process, which need not be asked for again

    def try_recommended() -> None:
        """Score what is recommended: on validation data, or by the training reward within the budget."""
        prompts = [p for p in dict.fromkeys(optimizer.recommend()) if p not in scored]
        if validate is not None:
            scores = _score(validate, prompts).tolist() if prompts else []
        else:
            if isinstance(reward, Memoised):
                met.update({p: known for p in prompts if (known := reward.recall(p)) is not None})
            new = [p for p in prompts if p not in met][: budget.room]
            budget.spend(len(new))
            met.update(zip(new, _score(reward, new).tolist() if new else [], strict=True))
            prompts = [p for p in prompts if p in met]
            scores = [met[p] for p in prompts]
        scored.update(prompts)
        at.trials.extend(Trial(at.step, p, s) for p, s in zip(prompts, scores, strict=True))

    stopped = budget.ended(at.seconds) if at.step else None
    while stopped is None:
        proposal = optimizer.ask(budget.room)
        if not proposal.prompts:
            if at.step == 0:
                raise InputError(
                    f"the optimizer proposed no prompt within {evaluations} evaluations; its first step needs more, or "
                    "its first ask() must return at least one."
                )
            stopped = "evaluations" if budget.room < width else "nothing left to try"
            break
        width = len(proposal.prompts) + proposal.passes
        budget.spend(len(proposal.prompts), passes=proposal.passes)
        rewards = _score(reward, proposal.prompts)
        met.update(zip(proposal.prompts, rewards.tolist(), strict=True))
        keep_best(met)
        log = optimizer.tell(proposal, rewards)
        at.step += 1
        at.seconds = clock() - began
        top = int(rewards.argmax())
        if float(rewards[top]) > at.best_reward:
            at.best_reward, at.best_prompt = float(rewards[top]), proposal.prompts[top]
        if at.step % validate_every == 0:
            try_recommended()
        at.evaluations, at.passes = budget.spent, budget.passes
        step = Step(
            at.step, proposal.prompts, rewards.tolist(), at.evaluations, at.seconds,
            budget.used(at.seconds), log, at.best_reward, best_trial(at.trials), at.passes,
        )  # fmt: skip
        for callback in callbacks:
            callback(step)
        stopped = budget.ended(at.seconds) or ("interrupt" if interrupted() else None)
        late = at.step % save_every == 0 or clock() - saved > _UNSAVED
        if save is not None and (stopped == "interrupt" or (stopped is None and late)):
            save(at)
            saved = clock()
    if stopped != "interrupt":
        try_recommended()
        at.evaluations = budget.spent
        if save is not None:
            save(at)
    best = best_trial(at.trials) or Trial(at.step, at.best_prompt, at.best_reward)
    return Result(best, at.trials, at.evaluations, at.seconds, stopped, at.passes)


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """The trial with the highest score, the earliest among equals; None when there is none."""
    return max(trials, key=lambda t: t.score, default=None)


def _score(reward: Reward, prompts: list[str]) -> Float[Tensor, " n"]:
    try:
        scores = torch.as_tensor(reward(prompts), dtype=torch.float64)
    except HardpromptError:
        raise
    except Exception as error:
        raise RewardError(
            f"the reward raised {type(error).__name__}: {error} (for {len(prompts)} prompts, the first {prompts[0]!r})."
        ) from error
    if scores.shape != (len(prompts),):
        raise RewardError(f"the reward returned shape {tuple(scores.shape)} for {len(prompts)} prompts.")
    wrong = (~torch.isfinite(scores)).nonzero()
    if len(wrong):
        i = int(wrong[0])
        raise RewardError(f"the reward of {prompts[i]!r} is {float(scores[i])}; it must be finite.")
    return scores

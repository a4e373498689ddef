"""AutoPrompt and GCG: a prompt whose tokens are changed, one a candidate, for those that the gradient points to."""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.lms.vocabulary import survives
from hardprompt.optimizers.checks import MANY, check
from hardprompt.optimizers.gradient.objective import Objective, check_objective, draw, flips, gradient
from hardprompt.optimizers.record import Record
from hardprompt.search.engine import EVERYTHING, Proposal

_DRAWS = 50  # for one candidate

# Up to so many prompts that differ from one in a token, by what each change would add to its loss.
Changes = Callable[[Objective, list[int], Float[Tensor, "length vocabulary"], int, torch.Generator], list[list[int]]]


@dataclass(eq=False, kw_only=True)
class Coordinate:
    """One gradient a step, the prompts that ``changes`` makes of it, and the best of them in the prompt's place."""

    objective: Objective  # a loss with gradients
    length: int  # tokens of a prompt
    seed: int  # of the first prompt, which is random, and of the changes
    candidates: int  # prompts of a step
    recommended: int  # how many of the best prompts ``recommend`` returns
    changes: Changes  # makes the prompts
    climbs: bool  # whether a prompt gives way to a better one only

    def __post_init__(self) -> None:
        check(length=(self.length, 1, 32), candidates=(self.candidates, 1, MANY))
        self._record = Record(seed=self.seed, recommended=self.recommended)
        self._ids = draw(self.objective, self.length, self._record.generator)
        self._reward: float | None = None

    def ask(self, room: int = EVERYTHING) -> Proposal:
        """The prompt with other tokens; the first time, the prompt itself as well."""
        candidates = min(self.candidates, room - 1)
        if candidates < 1:
            return Proposal([])
        _, slope = gradient(self.objective, self.objective.table[self._ids][None])
        change = flips(self.objective, self._ids, slope[0].cpu())
        ids = [self._ids] if self._reward is None else []
        ids += self.changes(self.objective, self._ids, change, candidates - len(ids), self._record.generator)
        ids = ids or [draw(self.objective, self.length, self._record.generator)]
        return Proposal([self.objective.text(i) for i in ids], {"ids": ids}, passes=1)

    def tell(self, proposal: Proposal, rewards: Float[Tensor, " n"]) -> dict[str, float]:
        """Take over the best prompt of the step."""
        self._record.add(proposal, rewards)
        top = int(rewards.argmax())
        if self._reward is None or not self.climbs or float(rewards[top]) > self._reward:
            self._ids, self._reward = list(proposal.memo["ids"][top]), float(rewards[top])
        return {"reward": self._reward}

    def recommend(self) -> list[str]:
        """The best prompts seen by training reward."""
        return self._record.best()

    def state_dict(self) -> dict[str, Any]:
        """The prompt, its reward, the generator and what was seen."""
        return {"ids": list(self._ids), "reward": self._reward, **self._record.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._ids, self._reward = list(state["ids"]), state["reward"]
        self._record.load_state_dict(state)


def autoprompt(
    *, objective: Objective, length: int = 5, seed: int = 0, candidates: int = 15, recommended: int = 9
) -> Coordinate:
    """Changes one place of a prompt a step: the best of the tokens that the gradient puts first, if it is better.

    Raises:
        InputError: a task without gradients, or a setting out of range.

    Source: Shin et al. 2020, section 2.2. The first prompt is random where the paper's is made of mask tokens, which a
    prompt that can be pasted may not hold.
    """
    check_objective(objective, "AutoPrompt")
    return Coordinate(
        objective=objective, length=length, seed=seed, candidates=candidates, recommended=recommended,
        changes=_in_one_place, climbs=True,
    )  # fmt: skip


def gcg(
    *,
    objective: Objective,
    length: int = 5,
    seed: int = 0,
    candidates: int = 15,
    top_k: int = 256,
    recommended: int = 9,
) -> Coordinate:
    """Greedy coordinate gradient: of random single changes among each place's best ``top_k``, the best is taken over.

    ``candidates`` is B in the paper, ``top_k`` is k.

    Raises:
        InputError: a task without gradients, or a setting out of range.

    Source: Zou et al. 2023, Algorithm 1. As there, the step's best is taken over even when it is worse than the prompt
    before. The first prompt is random; the paper's is a row of exclamation marks.
    """
    check_objective(objective, "GCG")
    check(top_k=(top_k, 1, MANY))
    return Coordinate(
        objective=objective, length=length, seed=seed, candidates=candidates, recommended=recommended,
        changes=functools.partial(_anywhere, top_k), climbs=False,
    )  # fmt: skip


def _in_one_place(
    objective: Objective, ids: list[int], change: Tensor, count: int, generator: torch.Generator
) -> list[list[int]]:
    for place in torch.randperm(len(ids), generator=generator).tolist():
        changed = (_put(ids, place, token) for token in _order(change[place]).tolist())
        fitting = (new for new in changed if new != ids and survives(objective.tokenizer, new))
        if found := list(itertools.islice(fitting, count)):  # at some places no token may follow its neighbours
            return found
    return []


def _anywhere(
    top_k: int, objective: Objective, ids: list[int], change: Tensor, count: int, generator: torch.Generator
) -> list[list[int]]:
    best = [_order(row)[:top_k] for row in change]
    found: list[list[int]] = []
    for _ in range(count):
        for _ in range(_DRAWS):
            place = int(torch.randint(len(ids), (1,), generator=generator))
            token = int(best[place][torch.randint(len(best[place]), (1,), generator=generator)])
            new = _put(ids, place, token)
            if new != ids and new not in found and survives(objective.tokenizer, new):
                found.append(new)
                break
    return found


def _order(change: Float[Tensor, " vocabulary"]) -> Tensor:
    """The tokens that may stand in a place, the most promising first."""
    return change.argsort(stable=True)[: int(torch.isfinite(change).sum())]


def _put(ids: list[int], place: int, token: int) -> list[int]:
    return [*ids[:place], token, *ids[place + 1 :]]

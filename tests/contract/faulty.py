"""Plug-ins with one fault each: what the contract suites have to catch."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hardprompt.search.engine import EVERYTHING, Proposal
from hardprompt.tasks.function.task import FunctionTask


class Counting:
    """An optimizer without fault: proposes ``" 0"``, ``" 1"`` and so on, from where its seed says."""

    needs = frozenset({"seed"})
    width = 4

    def __init__(self, *, seed: int) -> None:
        self.next = 1000 * seed
        self.seen: dict[str, float] = {}

    def ask(self, room: int = EVERYTHING) -> Proposal:
        return self.proposal(min(self.width, room))

    def proposal(self, count: int) -> Proposal:
        prompts = [f" {self.next + i}" for i in range(count)]
        self.next += count
        return Proposal(prompts)

    def tell(self, proposal: Proposal, rewards: Tensor) -> dict[str, float]:
        self.seen.update(zip(proposal.prompts, rewards.tolist(), strict=True))
        return {"best": max(self.seen.values())}

    def recommend(self) -> list[str]:
        return [max(self.seen, key=lambda prompt: self.seen[prompt])]

    def state_dict(self) -> dict[str, Any]:
        return {"next": self.next, "seen": dict(self.seen)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.next, self.seen = state["next"], dict(state["seen"])


class Demanding(Counting):
    """Needs what there is not."""

    needs = frozenset({"colour"})


class Spendthrift(Counting):
    """Proposes as many as ever, whatever is left."""

    def ask(self, room: int = EVERYTHING) -> Proposal:
        return self.proposal(self.width)


class Secretive(Counting):
    """Makes passes beyond its room, and proposes nothing then."""

    def ask(self, room: int = EVERYTHING) -> Proposal:
        return Proposal([], passes=1) if room < self.width else self.proposal(self.width)


class Forgetful(Counting):
    """Leaves where it was out of its state."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = dict(state["seen"])


class Moody(Counting):
    """Draws from the global generator."""

    def ask(self, room: int = EVERYTHING) -> Proposal:
        self.next += int(torch.randint(1000, ()))
        return super().ask(room)


class Humble(Counting):
    """Recommends the worst."""

    def recommend(self) -> list[str]:
        return [min(self.seen, key=lambda prompt: self.seen[prompt])]


class Wordless(Counting):
    """Proposes numbers."""

    def proposal(self, count: int) -> Proposal:
        return Proposal([*range(count)])  # type: ignore[list-item]


def lengths(prompts: Sequence[str]) -> Tensor:
    return torch.tensor([float(len(prompt)) for prompt in prompts], dtype=torch.float64)


class Letters:
    """An item reward without fault: how often each of three letters stands in a prompt."""

    items = 3

    def __call__(self, prompts: list[str]) -> Tensor:
        return self.aggregate(self.score(prompts))

    def score(self, prompts: Sequence[str], items: Sequence[int] | None = None) -> Tensor:
        at = range(self.items) if items is None else items
        return torch.tensor([[float(p.count("ast"[i])) for i in at] for p in prompts], dtype=torch.float64)

    def aggregate(self, scores: Tensor, _: Sequence[int] | None = None) -> Tensor:
        return scores.mean(-1)


class Sociable(Letters):
    """Normalises over the prompts that are asked together."""

    def aggregate(self, scores: Tensor, _: Sequence[int] | None = None) -> Tensor:
        return scores.mean(-1) - scores.mean()


class Crooked(Letters):
    """Looks at the first items, whichever are asked for."""

    def score(self, prompts: Sequence[str], items: Sequence[int] | None = None) -> Tensor:
        return super().score(prompts)[:, : self.items if items is None else len(items)]


class Other(Letters):
    """Its reward is not the aggregate of its scores."""

    def __call__(self, prompts: list[str]) -> Tensor:
        return lengths(prompts)


class Endless(Letters):
    """Is infinite where a prompt has no such letter."""

    def aggregate(self, scores: Tensor, _: Sequence[int] | None = None) -> Tensor:
        return scores.mean(-1).log()


class Drifting(Letters):
    """Says another number each time."""

    calls = itertools.count()

    def aggregate(self, scores: Tensor, _: Sequence[int] | None = None) -> Tensor:
        return scores.mean(-1) + next(self.calls)


class Amnesiac:
    """Says that it remembers, and does not."""

    hits = scored = 0

    def __call__(self, prompts: list[str]) -> Tensor:
        return lengths(prompts)

    def recall(self, prompt: str) -> float | None:
        return None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def task(**changes: Any) -> FunctionTask:
    """A task without fault, but for ``changes`` to its members."""
    made = FunctionTask(lambda prompts: [float(len(p)) for p in prompts], manual="It was", instruction="Say so.")
    vars(made).update(changes)
    return made

"""Losses of a prompt that have gradients: what the methods that need more than rewards are built on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.lms.vocabulary import survives

_DRAWS = 1000


class SoftPrompts:
    """Prompts that are vectors and no tokens, each under a name that stands for it where a string is expected."""

    def __init__(self) -> None:
        self._vectors: dict[str, Tensor] = {}

    def add(self, vectors: Float[Tensor, "length d"]) -> str:
        """Remember a prompt; its name follows from its numbers."""
        plain = vectors.detach().float().cpu().contiguous()
        name = f"<soft prompt {hashlib.sha256(plain.numpy().tobytes()).hexdigest()[:12]}>"
        self._vectors[name] = plain
        return name

    def keep(self, names: Sequence[str]) -> None:
        """Forget all others."""
        self._vectors = {name: self._vectors[name] for name in dict.fromkeys(names)}

    def __contains__(self, name: str) -> bool:
        return name in self._vectors

    def __getitem__(self, name: str) -> Float[Tensor, "length d"]:
        return self._vectors[name]

    def __len__(self) -> int:
        return len(self._vectors)

    def state_dict(self) -> dict[str, Tensor]:
        """Every prompt by name."""
        return dict(self._vectors)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what ``state_dict`` returned."""
        self._vectors = dict(state)


class BestSoft:
    """The soft prompt of the highest reward, and those that a search ever stood by; the store keeps no others.

    Args:
        soft: the store.
    """

    def __init__(self, soft: SoftPrompts) -> None:
        self._soft = soft
        self._best: tuple[str, float] | None = None
        self._stood_by: list[str] = []

    def add(self, names: Sequence[str], rewards: Float[Tensor, " n"]) -> None:
        """Learn the rewards of a step, and forget what is not needed."""
        top = int(rewards.argmax())
        if self._best is None or float(rewards[top]) > self._best[1]:
            self._best = (names[top], float(rewards[top]))
        self._soft.keep([*self._stood_by, self._best[0]])

    def stand_by(self) -> list[str]:
        """The best one, if any; it is kept from now on."""
        best = [self._best[0]] if self._best is not None else []
        self._stood_by += [name for name in best if name not in self._stood_by]
        return best

    def state_dict(self) -> dict[str, Any]:
        """The names, and the vectors of all that is kept."""
        best = list(self._best) if self._best is not None else None
        return {"best": best, "stood_by": list(self._stood_by), "soft": self._soft.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._best = (state["best"][0], state["best"][1]) if state["best"] is not None else None
        self._stood_by = list(state["stood_by"])
        self._soft.load_state_dict(state["soft"])


@runtime_checkable
class Objective(Protocol):
    """A loss of the vectors that a prompt's tokens have in a model's input; its training data are inside.

    A prompt's text is scored by the reward: where its tokens merge with their neighbours, or the reward is another
    function, the loss is an approximation of it.
    """

    tokenizer: Any
    """Of the model that reads the prompt."""

    table: Float[Tensor, "vocabulary d"]
    """The vector of each token."""

    opens: Bool[Tensor, " vocabulary"]
    """Tokens that a prompt may begin with."""

    follows: Bool[Tensor, " vocabulary"]
    """Tokens that may come later in it."""

    soft: SoftPrompts | None
    """Where a prompt that is no text is left for the reward, or None where the reward takes texts only."""

    def text(self, ids: Sequence[int]) -> str:
        """A prompt of these tokens as the reward is given it."""
        ...

    def parts(self, vectors: Float[Tensor, "n length d"]) -> Iterator[Float[Tensor, " n"]]:
        """What adds up to the loss of each prompt, lower is better; each part has a graph of its own."""
        ...


def gradient(objective: Objective, vectors: Float[Tensor, "n length d"]) -> tuple[Tensor, Tensor]:
    """The loss of each prompt and its gradient: one pass through the training set for each prompt."""
    leaf = vectors.detach().clone().requires_grad_(True)
    loss, slope = torch.zeros(len(leaf)), torch.zeros_like(leaf)
    for part in objective.parts(leaf):  # one after the other: only one graph is held
        slope += torch.autograd.grad(part.sum(), leaf)[0]
        loss += part.detach().cpu()
    return loss, slope


def flips(
    objective: Objective, ids: Sequence[int], slope: Float[Tensor, "length d"]
) -> Float[Tensor, "length vocabulary"]:
    """What putting each token in each place would add to the loss, to first order; inf where it may not stand.

    Source: HotFlip (Ebrahimi et al., 2018, eq. 10); AutoPrompt eq. 2.
    """
    change = (slope @ objective.table.T) - (slope * objective.table[list(ids)]).sum(-1, keepdim=True)
    allowed = torch.stack([objective.opens, *[objective.follows] * (len(ids) - 1)])
    return change.masked_fill(~allowed, torch.inf)


def draw(objective: Objective, length: int, generator: torch.Generator) -> list[int]:
    """A prompt of random tokens that survives re-tokenisation.

    Raises:
        InputError: none was found.
    """
    masks = [objective.opens, *[objective.follows] * (length - 1)]
    for _ in range(_DRAWS):
        ids = [int(torch.multinomial(mask.float(), 1, generator=generator)) for mask in masks]
        if survives(objective.tokenizer, ids):
            return ids
    raise InputError(f"no surviving prompt of {length} tokens was found in {_DRAWS} draws.")


def check_objective(objective: object, method: str) -> None:
    """Raise an InputError for what is no objective: the method cannot search without gradients.

    Raises:
        InputError: ``objective`` is something else, such as a reward.
    """
    if not isinstance(objective, Objective):
        raise InputError(
            f"{method} needs the gradients of a loss, and a {type(objective).__name__} gives none; "
            "a task that has them gives them by objective()."
        )

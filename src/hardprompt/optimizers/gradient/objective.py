"""Losses of a prompt that have gradients: what the methods that need more than rewards are built on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.optimizers.drawing import drawn
from hardprompt.optimizers.gradient.soft import SoftPrompts


@runtime_checkable
class Objective(Protocol):
    """A loss of the vectors that a prompt's tokens have in a model's input; its training data are inside.

    A prompt's text is scored by the reward: where its tokens merge with their neighbours, or the reward is another
    function, the loss is an approximation of it.
    """

    tokenizer: Any  # of the model that reads the prompt
    table: Float[Tensor, "vocabulary d"]  # the vector of each token
    opens: Bool[Tensor, " vocabulary"]  # tokens that a prompt may begin with
    follows: Bool[Tensor, " vocabulary"]  # tokens that may come later in it
    soft: SoftPrompts | None
    """Where a prompt that is no text is left for the reward, or None where the reward takes texts only."""

    def text(self, ids: Sequence[int]) -> str:
        """A prompt of these tokens as the reward is given it."""

    def parts(self, vectors: Float[Tensor, "n length d"]) -> Iterator[Float[Tensor, " n"]]:
        """What adds up to the loss of each prompt, lower is better; each part has a graph of its own."""


def gradient(objective: Objective, vectors: Float[Tensor, "n length d"]) -> tuple[Tensor, Tensor]:
    """The loss of each prompt and its gradient: one pass through the training set for each prompt."""
    leaf = vectors.detach().clone().requires_grad_(True)
    loss, slope = torch.zeros(len(leaf)), torch.zeros_like(leaf)
    for part in objective.parts(leaf):  # one after the other: only one graph is held
        slope += torch.autograd.grad(part.sum(), leaf)[0]
        loss += part.detach().cpu()
    return loss, slope


def allowed(objective: Objective, length: int) -> Bool[Tensor, "length vocabulary"]:
    """The tokens that may stand in each place of a prompt."""
    return torch.stack([objective.opens, *[objective.follows] * (length - 1)])


def flips(
    objective: Objective, ids: Sequence[int], slope: Float[Tensor, "length d"]
) -> Float[Tensor, "length vocabulary"]:
    """What putting each token in each place would add to the loss, to first order; inf where it may not stand.

    Source: HotFlip (Ebrahimi et al., 2018, eq. 10); AutoPrompt eq. 2.
    """
    change = (slope @ objective.table.T) - (slope * objective.table[list(ids)]).sum(-1, keepdim=True)
    return change.masked_fill(~allowed(objective, len(ids)), torch.inf)


def draw(objective: Objective, length: int, generator: torch.Generator) -> list[int]:
    """A prompt of random tokens that survives re-tokenisation.

    Raises:
        InputError: none was found.
    """
    weights = allowed(objective, length).float()
    (ids,) = drawn(
        1, objective.tokenizer, lambda _: [tuple(int(torch.multinomial(w, 1, generator=generator)) for w in weights)]
    )
    return list(ids)


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


def soft_prompts(objective: Objective, method: str) -> SoftPrompts:
    """Where the reward looks for prompts that are no text.

    Raises:
        InputError: ``objective`` is none, or its reward takes texts only.
    """
    check_objective(objective, method)
    if objective.soft is None:
        raise InputError(f"{method} finds vectors that are no text, and the reward of this task reads texts only.")
    return objective.soft

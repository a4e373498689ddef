"""Prompts that are not searched for: a hand-written one, an instruction, worked examples."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.search.engine import EVERYTHING, Proposal


class Fixed:
    """Proposes one prompt, once."""

    def __init__(self, *, prompt: str) -> None:
        self._prompt, self._asked = prompt, False

    def ask(self, room: int = EVERYTHING) -> Proposal:
        """The prompt; nothing when it was asked for before."""
        return Proposal([] if self._asked or room < 1 else [self._prompt])

    def tell(self, proposal: Proposal, rewards: Float[Tensor, " n"]) -> dict[str, float]:  # noqa: ARG002
        """Nothing is learned."""
        self._asked = True
        return {}

    def recommend(self) -> list[str]:
        """The prompt."""
        return [self._prompt]

    def state_dict(self) -> dict[str, Any]:
        """Whether it was proposed."""
        return {"asked": self._asked}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._asked = bool(state["asked"])


@runtime_checkable
class Examples(Protocol):
    """What worked examples can be drawn from."""

    def draw(self, seed: int, shots: int) -> str:
        """Up to ``shots`` of each class as a prompt."""


def manual(*, manual: str) -> Fixed:
    """The task's hand-written prompt."""
    return Fixed(prompt=manual)


def instruction(*, instruction: str) -> Fixed:
    """The task's instruction."""
    return Fixed(prompt=instruction)


def demonstrations(*, examples: Examples, seed: int = 0, shots: int = 4) -> Fixed:
    """Worked examples, drawn and ordered by the seed.

    Args:
        examples: what they are drawn from.
        seed: of the draw.
        shots: examples of each class; fewer where no more fit.

    Raises:
        InputError: not one example fits, or fewer than one is asked for.

    Source: in-context learning, Brown et al. 2020.
    """
    if shots < 1:
        raise InputError(f"shots is {shots}; it must be at least 1.")
    return Fixed(prompt=examples.draw(seed, shots))

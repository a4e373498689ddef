"""What a search of texts keeps, whatever its method: its random numbers, and the prompts that it has scored."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.optimizers.checks import MANY, check
from hardprompt.search.engine import Proposal
from hardprompt.search.seen import Seen


class Record:
    """A generator, and the prompts scored with their rewards, of which the best ``recommended`` are recommended."""

    def __init__(self, *, seed: int, recommended: int) -> None:
        check(recommended=(recommended, 1, MANY))
        self.generator = torch.Generator().manual_seed(seed)
        self._recommended = recommended
        self._rewards: Seen[str] = Seen()

    def __contains__(self, prompt: str) -> bool:
        return prompt in self._rewards

    def add(self, proposal: Proposal, rewards: Float[Tensor, " n"]) -> None:
        """Remember the rewards of a step; the prompts of lowest reward may be forgotten."""
        self._rewards.add(proposal.prompts, rewards.tolist())

    def best(self) -> list[str]:
        """The prompts of the highest rewards, the first seen before its equals."""
        return sorted(self._rewards, key=lambda prompt: -self._rewards[prompt])[: self._recommended]

    def state_dict(self) -> dict[str, Any]:
        """The generator, and every prompt with its reward."""
        return {"generator": self.generator.get_state(), "seen": self._rewards.past()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned, from a state that has it among others."""
        self.generator.set_state(state["generator"])
        self._rewards.restore(state["seen"], str)

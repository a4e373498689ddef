"""Replay: a ring buffer of token ids and rewards, and nothing else."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hardprompt.errors import InputError


class Replay:
    """The latest prompts and their rewards; hidden states are looked up in the prefix tree, never stored here.

    Args:
        capacity: prompts kept; the oldest is overwritten first.
        length: tokens of a prompt.
    """

    def __init__(self, *, capacity: int, length: int) -> None:
        if capacity < 1 or length < 1:
            raise InputError(f"replay of {capacity} prompts of {length} tokens: both must be at least 1.")
        self._ids = torch.zeros(capacity, length, dtype=torch.int64)
        self._rewards = torch.zeros(capacity, dtype=torch.float32)
        self._added = 0

    def __len__(self) -> int:
        return min(self._added, len(self._rewards))

    def add(self, ids: Int[Tensor, "n length"], rewards: Float[Tensor, " n"]) -> None:
        """Append, overwriting the oldest entries once full."""
        for row, reward in zip(ids, rewards, strict=True):
            slot = self._added % len(self._rewards)
            self._ids[slot] = row
            self._rewards[slot] = reward
            self._added += 1

    def sample(
        self, size: int, generator: torch.Generator
    ) -> tuple[Int[Tensor, "size length"], Float[Tensor, " size"]]:
        """Draw ``size`` entries uniformly with replacement.

        Raises:
            InputError: nothing has been added yet.
        """
        if len(self) == 0:
            raise InputError("replay is empty: add prompts before sampling from it.")
        rows = torch.randint(len(self), (size,), generator=generator)
        return self._ids[rows], self._rewards[rows]

    @property
    def rewards(self) -> Float[Tensor, " n"]:
        """The rewards held, in no particular order."""
        return self._rewards[: len(self)]

    def state_dict(self) -> dict[str, Any]:
        """Everything held, oldest slots included."""
        used = len(self)
        return {"ids": self._ids[:used].clone(), "rewards": self._rewards[:used].clone(), "added": self._added}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned for a buffer of the same capacity."""
        used = len(state["rewards"])
        self._ids[:used] = state["ids"]
        self._rewards[:used] = state["rewards"]
        self._added = int(state["added"])

"""Replay: a ring buffer of token ids and rewards, and nothing else."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.search.files import Past


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
        self._log: list[Any] = []  # of each call of ``add`` its ids and rewards, beginning with entry ``_first``
        self._first = 0

    def __len__(self) -> int:
        return min(self._added, len(self._rewards))

    def add(self, ids: Int[Tensor, "n length"], rewards: Float[Tensor, " n"]) -> None:
        """Append, overwriting the oldest entries once full."""
        if len(ids):
            self._log.append([ids.tolist(), rewards.tolist()])
        for row, reward in zip(ids, rewards, strict=True):
            slot = self._added % len(self._rewards)
            self._ids[slot] = row
            self._rewards[slot] = reward
            self._added += 1
        if self._added - self._first > 2 * len(self._rewards):  # the log holds more of what is gone than is here
            self._first = self._added - len(self)
            order = torch.arange(self._first, self._added) % len(self._rewards)
            self._log = [[self._ids[order].tolist(), self._rewards[order].tolist()]]

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
        """Everything held, in the order in which it came, and the number of the first of it."""
        return {"first": self._first, "entries": Past(self._log)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned for a buffer of the same capacity."""
        self._added = self._first = int(state["first"])
        self._log = []
        for ids, rewards in state["entries"]:
            self.add(torch.tensor(ids, dtype=torch.int64), torch.tensor(rewards))

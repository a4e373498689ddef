"""Wrappers: a Reward over a Reward."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.errors import RewardError
from hardprompt.search.engine import Reward


class Cached:
    """Never scores a prompt twice; what it knows is part of a checkpoint.

    Args:
        reward: the reward to ask about new prompts.
        kept: prompts remembered; the oldest is forgotten first.
    """

    def __init__(self, reward: Reward, *, kept: int = 200_000) -> None:
        self._reward = reward
        self._kept = kept
        self._known: dict[str, float] = {}
        self.hits = 0
        self.scored = 0  # by the reward behind

    def __call__(self, prompts: list[str]) -> Float[Tensor, " n"]:
        """The rewards, of new prompts by the reward behind and of known ones from memory."""
        new = list(dict.fromkeys(p for p in prompts if p not in self._known))
        self.hits += len(prompts) - len(new)
        if new:
            scores = torch.as_tensor(self._reward(new))
            if scores.shape != (len(new),):
                raise RewardError(f"the reward returned shape {tuple(scores.shape)} for {len(new)} prompts.")
            self.scored += len(new)
            fresh = dict(zip(new, scores.tolist(), strict=True))
            # What is not finite is handed on, for the engine to name, and not remembered.
            self._known.update({p: r for p, r in fresh.items() if math.isfinite(r)})
            scored = torch.tensor([self._known.get(p, fresh.get(p)) for p in prompts], dtype=torch.float64)
            while len(self._known) > self._kept:
                del self._known[next(iter(self._known))]
            return scored
        return torch.tensor([self._known[p] for p in prompts], dtype=torch.float64)

    @property
    def known(self) -> Mapping[str, float]:
        """The reward of each prompt that is remembered."""
        return self._known

    def __len__(self) -> int:
        return len(self._known)

    def state_dict(self) -> dict[str, Any]:
        """Every prompt scored so far with its reward."""
        return {"known": [[p, r] for p, r in self._known.items()], "hits": self.hits, "scored": self.scored}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._known = dict(state["known"])
        self.hits, self.scored = int(state["hits"]), int(state["scored"])

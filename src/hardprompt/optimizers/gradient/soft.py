"""Prompts that are no text: where the reward finds their vectors, and which of them a search keeps."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from hardprompt.search.files import Past


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

    def restore(self, vectors: Mapping[str, Tensor]) -> None:
        """Hold these, by name, and no others."""
        self._vectors = dict(vectors)


class BestSoft:
    """The soft prompt of the highest reward, and those that a search ever stood by; the store keeps no others."""

    def __init__(self, soft: SoftPrompts) -> None:
        self._soft = soft
        self._best: tuple[str, float] | None = None
        self._stood_by: list[str] = []
        self._log: list[Any] = []  # of each that was stood by its name and its vectors

    def add(self, names: Sequence[str], rewards: Float[Tensor, " n"]) -> None:
        """Learn the rewards of a step, and forget what is not needed."""
        top = int(rewards.argmax())
        if self._best is None or float(rewards[top]) > self._best[1]:
            self._best = (names[top], float(rewards[top]))
        self._soft.keep([*self._stood_by, self._best[0]])

    def stand_by(self) -> list[str]:
        """The best one, if any; it is kept from now on."""
        best = [self._best[0]] if self._best is not None else []
        for name in best:
            if name not in self._stood_by:
                self._stood_by.append(name)
                self._log.append([name, self._soft[name]])
        return best

    def state_dict(self) -> dict[str, Any]:
        """The names, and the vectors of all that is kept."""
        best = [*self._best, self._soft[self._best[0]]] if self._best is not None else None
        return {"best": best, "stood_by": Past(self._log)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._best = (state["best"][0], state["best"][1]) if state["best"] is not None else None
        self._log = list(state["stood_by"])
        self._stood_by = [name for name, _ in self._log]
        best = [(state["best"][0], state["best"][2])] if state["best"] is not None else []
        self._soft.restore(dict([*self._log, *best]))

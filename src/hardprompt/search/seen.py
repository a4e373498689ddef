"""What a search has scored so far, within a budget of memory."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

_Key = TypeVar("_Key")


def keep_best(seen: dict[_Key, float], most: int = 100_000) -> None:
    """Forget the prompts of lowest reward, down to ``most``, once there are twice as many."""
    if len(seen) >= 2 * most:
        for key in sorted(seen, key=lambda k: -seen[k])[most:]:
            del seen[key]


class Seen:
    """The prompts that a search has scored, and their training rewards; those of lowest reward may be forgotten."""

    def __init__(self) -> None:
        self._rewards: dict[str, float] = {}

    def __contains__(self, prompt: str) -> bool:
        return prompt in self._rewards

    def add(self, prompts: Sequence[str], rewards: Sequence[float]) -> None:
        """Remember the rewards of a step."""
        self._rewards.update(zip(prompts, rewards, strict=True))
        keep_best(self._rewards)

    def best(self, count: int) -> list[str]:
        """The prompts of the highest rewards, the first seen before its equals."""
        return sorted(self._rewards, key=lambda prompt: -self._rewards[prompt])[:count]

    def state_dict(self) -> list[list[Any]]:
        """Every prompt with its reward."""
        return [[prompt, reward] for prompt, reward in self._rewards.items()]

    def load_state_dict(self, state: Iterable[Sequence[Any]]) -> None:
        """Restore what ``state_dict`` returned."""
        self._rewards = {str(prompt): float(reward) for prompt, reward in state}

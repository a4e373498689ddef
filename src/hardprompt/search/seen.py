"""Keeps what a search has seen within a budget of memory, and as a log that a checkpoint appends to."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from hardprompt.search.files import Past

_Key = TypeVar("_Key")


def keep_best(seen: dict[_Key, float], most: int = 100_000) -> bool:
    """Forget the prompts of lowest reward, down to ``most``, once there are twice as many; whether it came to that."""
    if len(seen) < 2 * most:
        return False
    for key in sorted(seen, key=lambda k: -seen[k])[most:]:
        del seen[key]
    return True


class Seen(dict[_Key, float]):
    """The latest reward of each prompt, of which those of lowest reward may be forgotten.

    Args:
        most: prompts that are left when some are forgotten.
    """

    def __init__(self, most: int = 100_000) -> None:
        super().__init__()
        self._most = most
        self._log: list[Any] = []  # of each step its prompts and their rewards

    def add(self, prompts: Sequence[_Key], rewards: Sequence[float]) -> None:
        """Remember the rewards of a step."""
        self._log.append([[_plain(prompt) for prompt in prompts], list(rewards)])
        self.update(zip(prompts, rewards, strict=True))
        if keep_best(self, self._most):
            self._log = [[[_plain(prompt) for prompt in self], list(self.values())]]

    def past(self) -> Past:
        """What it was told, step by step."""
        return Past(self._log)

    def restore(self, past: Iterable[Sequence[Any]], key: Callable[[Any], _Key]) -> None:
        """Go on from what ``past`` returned, of prompts that ``key`` makes of plain values."""
        self.clear()
        self._log = list(past)
        for prompts, rewards in self._log:
            self.update(zip(map(key, prompts), rewards, strict=True))


def _plain(prompt: Any) -> Any:
    return list(prompt) if isinstance(prompt, tuple) else prompt

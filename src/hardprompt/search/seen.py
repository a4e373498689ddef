"""Keeps what a search has seen within a budget of memory."""

from typing import TypeVar

_Key = TypeVar("_Key")


def keep_best(seen: dict[_Key, float], most: int = 100_000) -> None:
    """Forget the prompts of lowest reward, down to ``most``, once there are twice as many."""
    if len(seen) >= 2 * most:
        for key in sorted(seen, key=lambda k: -seen[k])[most:]:
            del seen[key]

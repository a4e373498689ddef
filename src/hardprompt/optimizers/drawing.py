"""Draws prompts until each survives being pasted: what is reported is what was scored."""

from collections.abc import Callable, Sequence
from typing import Any

from hardprompt.errors import InputError
from hardprompt.lms.vocabulary import survives

_DRAWS = 1000  # attempts, before giving up
Ids = tuple[int, ...]


def drawn(
    count: int, tokenizer: Any, draw: Callable[[int], Sequence[Ids]], failed: Callable[[Ids], None] = lambda _: None
) -> list[Ids]:
    """Prompts, of which each that does not survive re-tokenisation is told to ``failed`` and drawn again in its place.

    Raises:
        InputError: there seem to be none that survive.
    """
    prompts: list[Ids] = [()] * count
    waiting = list(range(count))
    for _ in range(_DRAWS):
        for i, prompt in zip(waiting, draw(len(waiting)), strict=True):
            prompts[i] = prompt
        waiting = [i for i in waiting if not survives(tokenizer, list(prompts[i]))]
        if not waiting:
            return prompts
        for i in waiting:
            failed(prompts[i])
    raise InputError(f"no surviving prompt of {len(prompts[0])} tokens was found in {_DRAWS} draws.")

"""Texts cut to what a task model is to read of each, with a word on it: one way for every task."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from hardprompt.data.saying import say_once

_SHOWN = 40  # characters of the first text that is cut


@runtime_checkable
class Cutter(Protocol):
    """A model that knows its tokens."""

    def truncate(self, text: str, tokens: int) -> str:
        """The first ``tokens`` tokens of ``text`` as a string."""


def cut(lm: Cutter, texts: Sequence[str], most: int) -> tuple[list[str], int]:
    """The texts, each cut at its end to so many tokens, and how many were; that is said."""
    fitted = [lm.truncate(text, most) for text in texts]
    long = [text for text, kept in zip(texts, fitted, strict=True) if kept != text]
    if long:
        say_once(
            f"{len(long)} of {len(texts)} texts have more than {most} tokens and are cut at their end, "
            f"{long[0][:_SHOWN]!r} first"
        )
    return fitted, len(long)


def cut_note(result: Mapping[str, Any]) -> list[str]:
    """What the tables of a result say of texts that were cut; nothing where none was."""
    number = result["texts"].get("truncated")  # results of style transfer had none before
    return [f"{number} texts were too long and were cut at their end (--max-text-tokens)."] if number else []

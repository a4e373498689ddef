"""Texts as token ids: what opens and closes a text, where it is cut, and how one goes on behind another."""

from collections.abc import Sequence
from typing import Any


def plain_ids(tokenizer: Any, text: str) -> list[int]:
    """The tokens of ``text`` alone, without what opens and closes it."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def ids_behind(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a text that stands behind a word: at the beginning of a text some tokenizers put a space."""
    word, whole = plain_ids(tokenizer, "a"), plain_ids(tokenizer, "a" + text)
    return whole[len(word) :] if whole[: len(word)] == word else plain_ids(tokenizer, text)


def start_ids(tokenizer: Any) -> list[int]:
    """What stands before a text that begins from nothing: the tokenizer's own opening tokens, else a line break."""
    opening = _still_open(tokenizer, tokenizer("")["input_ids"])
    return opening or plain_ids(tokenizer, "\n") or [tokenizer.eos_token_id or 0]


def open_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of texts that will go on: what opens a text is there, what closes it is not."""
    encoded = tokenizer(list(texts), add_special_tokens=True)["input_ids"] if texts else []
    return [_still_open(tokenizer, ids) or start_ids(tokenizer) for ids in encoded]


def special_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The tokens that a tokenizer opens and closes a text with."""
    inner, whole = plain_ids(tokenizer, "a"), tokenizer("a")["input_ids"]
    at = next(i for i in range(len(whole)) if whole[i : i + len(inner)] == inner)
    return whole[:at], whole[at + len(inner) :]


def truncate(tokenizer: Any, text: str, tokens: int) -> str:
    """Cut ``text`` to its first ``tokens`` tokens, at a character boundary."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    if len(encoded["input_ids"]) <= tokens:
        return text
    offsets = encoded["offset_mapping"]
    while tokens > 0 and offsets[tokens][0] < offsets[tokens - 1][1]:
        tokens -= 1  # a character of several tokens is kept whole or not at all
    end = offsets[tokens - 1][1] if tokens > 0 else 0
    return text[:end]


def _still_open(tokenizer: Any, ids: list[int]) -> list[int]:
    """Without the end token that some tokenizers close a text with."""
    return ids[:-1] if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id else ids

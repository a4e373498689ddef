"""Which tokens of a vocabulary may stand in a prompt, and whether a whole prompt survives being pasted."""

import functools
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from hardprompt.errors import InputError, unknown
from hardprompt.lms.scripts import scripts, written_in
from hardprompt.lms.tokens import (
    added_ids,
    begins_apart,
    each_behind,
    ending,
    ids_behind,
    letter,
    plain_ids,
    special_of,
    text_behind,
)

Tokens = Literal["words", "any"]

_REPLACEMENT = "�"
_PUNCTUATION = re.compile(r"[ ]?[.,;:!?'\"()-]")  # one mark: runs such as `](` are mark-up, not prose
_NAMED = 5  # scripts that a refusal names
_CONTRACTION = re.compile(r"'(s|t|re|ve|ll|d|m)")
_TRIED = 1024  # words, by which it shows whether some grow together with what stands before them


@dataclass(frozen=True)
class Place:
    """Where a prompt stands, by which its first token is cut."""

    before: str | None  # what stands before it, "" if nothing does; None is something unknown
    spaced: bool  # whether its first word has a space before it
    lends: bool = False  # whether that space is there already

    @classmethod
    def behind(cls, left: str, *, spaced: bool) -> "Place":
        """The place behind ``left``; ``spaced`` is whether a prompt needs a space of its own there."""
        if left.endswith(" ") and not spaced:
            return cls(left[:-1], spaced=True, lends=True)  # a space belongs to the token behind it
        return cls(left if left or not spaced else None, spaced)


def allowed_tokens(
    tokenizer: Any, size: int, *, tokens: Tokens = "words", script: str = "latin"
) -> Bool[Tensor, " vocabulary"]:
    """The tokens that may be proposed.

    ``any`` leaves out only what cannot stand in a prompt at all: special tokens, control characters, byte
    fragments that decode to U+FFFD, and tokens that do not come back when their text is tokenised again, at the
    beginning of a text or, where the tokenizer cuts it otherwise there, behind another.
    ``words`` keeps one line of whole words and ordinary punctuation: a word is a token of letters of ``script``
    that begins with a space, or, as the first token of a prompt, one that does not (see ``first_tokens``).

    Args:
        tokenizer: a tokenizer of transformers.
        size: rows of the model's output head; the tokenizer may know fewer tokens.
        tokens: ``words`` or ``any``.
        script: first word of the letters' Unicode names, such as ``latin``, ``cyrillic``, ``greek``, ``hangul``.

    Raises:
        InputError: an unknown kind, or no token left, or of words none but marks.
    """
    if tokens not in ("words", "any"):
        raise unknown("kind of tokens", str(tokens), ("words", "any"))
    return _allowed(tokenizer, size, tokens, script).clone()


@functools.lru_cache(maxsize=4)  # a look at every token takes seconds
def _allowed(tokenizer: Any, size: int, tokens: Tokens, script: str) -> Bool[Tensor, " vocabulary"]:
    special = special_of(tokenizer)
    keep = _is_text if tokens == "any" else lambda text: _is_word_or_mark(text, script)
    ids = [i for i, text in enumerate(_texts(tokenizer, size)) if text and i not in special and keep(text)]
    alone = tokenizer.batch_decode([[i] for i in ids])
    again = tokenizer(alone, add_special_tokens=False, return_attention_mask=False)["input_ids"] if ids else []
    mask = _only(size, [i for i, back in zip(ids, again, strict=True) if back == [i]])
    if begins_apart(tokenizer):
        mask |= _back(tokenizer, size, ids, None)
    texts = _texts(tokenizer, size)
    if tokens == "any" and not bool(mask.any()):
        raise InputError("no token of the vocabulary can stand in a prompt.")
    if tokens == "words" and not any(texts[i].strip()[:1].isalpha() for i in mask.nonzero()[:, 0].tolist()):
        known = ", ".join(scripts(text for text in texts if text.startswith(" "))[:_NAMED])
        raise InputError(
            f"no token of the vocabulary is a word of the script {script!r}; its words are: {known or 'none'}."
        )
    return mask


def first_tokens(
    tokenizer: Any, allowed: Bool[Tensor, " vocabulary"], *, tokens: Tokens, place: Place
) -> tuple[Bool[Tensor, " vocabulary"], Bool[Tensor, " vocabulary"]]:
    """Split ``allowed`` into what may open a prompt and what may follow.

    With ``words`` a prompt opens with a word, spaced exactly when its place is (the template has text right before
    the prompt), and goes on with spaced words and marks, so that no token is a fragment glued to its neighbour.
    With ``any`` both are ``allowed``. Where the tokenizer cuts a text otherwise at its beginning, only those are left
    that come back: to open it at this place, to follow behind another text. With ``words`` that is so for every
    tokenizer, as far as there are such words: some grow together with a tab or a bracket.
    """
    size, opens, follows = len(allowed), allowed, allowed
    begins = begins_with_space(tokenizer, size)
    fits = begins == place.spaced
    if begins_apart(tokenizer):
        ids = allowed.nonzero()[:, 0].tolist()
        there = None if place.lends and not place.before else place.before  # a space alone may be one more token
        opens, follows = (_back(tokenizer, size, ids, before) for before in (there, None))
        if not place.spaced:  # a word may get the space there that its token begins with
            fits = _back(tokenizer, size, ids, place.before, bare=True)
            opens = opens | fits
    if tokens == "any":
        fitting = opens & begins if place.lends else opens
        return fitting if bool(fitting.any()) else opens, follows
    word = _where(tokenizer, size, lambda text: text.strip()[:1].isalpha())
    words = (opens & word & fits).nonzero()[:, 0].tolist()
    opens, follows = _only(size, _apart(tokenizer, size, tuple(words), place)), follows & (begins | ~word)
    return opens if bool(opens.any()) else allowed.clone(), follows if bool(follows.any()) else allowed.clone()


def _back(
    tokenizer: Any, size: int, ids: Sequence[int], before: str | None, *, bare: bool = False
) -> Bool[Tensor, " vocabulary"]:
    """Those of these tokens whose text is cut into them again behind ``before``; ``bare`` without the space it has."""
    texts = _texts(tokenizer, size)
    again = each_behind(tokenizer, [texts[i].removeprefix(" ") if bare else texts[i] for i in ids], before)
    return _only(size, [i for i, back in zip(ids, again, strict=True) if back == [i]])


def _only(size: int, ids: Sequence[int]) -> Bool[Tensor, " vocabulary"]:
    mask = torch.zeros(size, dtype=torch.bool)
    mask[list(ids)] = True
    return mask


@functools.lru_cache(maxsize=4)
def _apart(tokenizer: Any, size: int, words: tuple[int, ...], place: Place) -> tuple[int, ...]:
    """Those of these words that don't grow together with what stands before them; all, where each does."""
    if place.before is None or not words:
        return words
    before, texts = ending(place.before), _texts(tokenizer, size)

    def back(ids: Sequence[int]) -> tuple[int, ...]:
        bare = [texts[i].removeprefix(" ") for i in ids]
        ways = [[texts[i] for i in ids]] if place.spaced else [bare, [texts[i] for i in ids]]
        read = zip(ids, *(added_ids(tokenizer, way, before) for way in ways), strict=True)
        return tuple(i for i, *found in read if [i] in found)

    some = words[:: len(words) // _TRIED + 1]
    return words if back(some) == some else back(words) or words


def begins_with_space(tokenizer: Any, size: int) -> Bool[Tensor, " vocabulary"]:
    """Which tokens of a vocabulary add a space first to the text that they follow."""
    return _where(tokenizer, size, lambda text: text.startswith(" "))


def _where(tokenizer: Any, size: int, holds: Callable[[str], bool]) -> Bool[Tensor, " vocabulary"]:
    return _only(size, [i for i, text in enumerate(_texts(tokenizer, size)) if holds(text)])


def prompt_text(tokenizer: Any, ids: Sequence[int], place: Place) -> str:
    """The text that is put into a place for a prompt's tokens: what is read there as them, with no space if it can."""
    text = text_behind(tokenizer, ids)
    if place.spaced:
        return text.removeprefix(" ") if place.lends else text
    for one in (text.removeprefix(" "), text):  # a tokenizer may put the space there
        if ids_behind(tokenizer, one, place.before) == list(ids):
            return one
    return str(tokenizer.decode(list(ids)))


def survives(tokenizer: Any, ids: list[int]) -> bool:
    """Whether the text of ``ids`` is tokenised into ``ids`` again: what is reported is what was scored.

    It is so at the beginning of a text or, where the tokenizer cuts it otherwise there, behind another.
    """
    text = tokenizer.decode(ids)
    if _REPLACEMENT in text or not text.strip():
        return False
    if plain_ids(tokenizer, text) == ids:
        return True
    return begins_apart(tokenizer) and ids_behind(tokenizer, text_behind(tokenizer, ids)) == ids


@functools.lru_cache(maxsize=4)
def _texts(tokenizer: Any, size: int) -> tuple[str, ...]:
    """What each token adds to a text: alone, some decoders drop the space that a word begins with."""
    anchor = plain_ids(tokenizer, letter(tokenizer))
    start = len(tokenizer.decode(anchor))
    known = range(min(size, len(tokenizer)))
    return tuple(text[start:] for text in tokenizer.batch_decode([[*anchor, i] for i in known]))


def _is_text(text: str) -> bool:
    control = ("Cc", "Cs", "Co", "Cn", "Zl", "Zp")
    return _REPLACEMENT not in text and not any(unicodedata.category(c) in control for c in text)


def _is_word_or_mark(text: str, script: str) -> bool:
    if _PUNCTUATION.fullmatch(text) or _CONTRACTION.fullmatch(text):
        return True
    word = text[1:] if text.startswith(" ") else text
    if not word.isalpha() or not written_in(word, script):
        return False
    if len(word) == 1 and word.isascii() and word not in ("a", "A", "I"):
        return False
    return word in (word.lower(), word.capitalize())  # neither SHOUTING nor camelCase

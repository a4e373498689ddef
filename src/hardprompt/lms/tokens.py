"""Texts as token ids and back: what opens and closes a text, what goes on behind another, and where it is cut."""

import bisect
import functools
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from hardprompt.errors import InputError

_LOG = logging.getLogger(__name__)

_ENDING = 64  # characters of it at most: some scripts have no spaces
_LONG = 1000  # characters; what is longer is not remembered


def plain_ids(tokenizer: Any, text: str) -> list[int]:
    """The tokens of ``text`` alone, without what opens and closes it."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def ids_behind(tokenizer: Any, text: str, context: str | None = None) -> list[int]:
    """The tokens that ``text`` adds to a context: those of the whole string behind the context's own.

    At the beginning of a text some tokenizers put a space; behind another text it is not there. Where text and context
    grow together at the border, so that the whole string has no such tokens, they are those behind a full stop, a
    letter or a line break, the first of which keeps apart from them.

    Args:
        tokenizer: a tokenizer of transformers.
        text: what goes on.
        context: what stands before; None is something unknown.
    """
    end = None if context is None else ending(context)
    return list(_remembered(tokenizer, text, end)) if len(text) <= _LONG else each_behind(tokenizer, [text], end)[0]


def each_behind(tokenizer: Any, texts: Sequence[str], context: str | None = None) -> list[list[int]]:
    """``ids_behind`` of each text, all behind one context; they are cut at once."""
    found: dict[int, list[int]] = {}
    unknown = (".", letter(tokenizer), "\n")
    for before in (*(() if context is None else (ending(context),)), *unknown, ""):
        if before in unknown and before != context and not plain_ids(tokenizer, before):
            continue  # to this tokenizer nothing would stand there
        if left := [i for i in range(len(texts)) if i not in found]:
            more = added_ids(tokenizer, [texts[i] for i in left], before)
            found |= {i: ids for i, ids in zip(left, more, strict=True) if ids}
    return [found.get(i, []) for i in range(len(texts))]


def added_ids(tokenizer: Any, texts: Sequence[str], before: str) -> list[list[int]]:
    """The tokens that each text adds to what stands before it; none where both grow together at the border."""
    own = plain_ids(tokenizer, before)
    wholes = tokenizer([before + text for text in texts], add_special_tokens=False, return_attention_mask=False)
    return [ids[len(own) :] if ids[: len(own)] == own else [] for ids in wholes["input_ids"]]


@functools.lru_cache(maxsize=64)
def letter(tokenizer: Any) -> str:
    """A text that a tokenizer has tokens for: "a", else one from its vocabulary, of letters if it has any.

    Raises:
        InputError: a tokenizer that reads neither "a" nor what it has itself.
    """
    special = special_of(tokenizer)

    def reads(text: str) -> bool:
        ids = plain_ids(tokenizer, text)
        return bool(ids) and not special.intersection(ids) and bool(tokenizer.decode(ids).strip())

    if reads("a"):
        return "a"
    known = sorted(set(tokenizer.get_vocab().values()) - special)
    texts = filter(None, (str(tokenizer.decode([i])).strip() for i in known))
    found = filter(reads, sorted(texts, key=lambda text: (not text.isalpha(), not text.isalnum())))
    if (text := next(found, "a" if plain_ids(tokenizer, "a") else None)) is None:
        raise InputError("the tokenizer reads neither 'a' nor any token of its own as something; use another model.")
    return text


def special_of(tokenizer: Any) -> set[int]:
    """The special tokens of a tokenizer."""
    return {*tokenizer.all_special_ids, *(i for i, t in tokenizer.added_tokens_decoder.items() if t.special)}


@functools.lru_cache(maxsize=64)
def begins_apart(tokenizer: Any) -> bool:
    """Whether a text is cut otherwise at its beginning than behind another: some tokenizers put a space before it."""
    text = letter(tokenizer)
    return ids_behind(tokenizer, text) != plain_ids(tokenizer, text)


def ending(context: str) -> str:
    """The last word of a context and the space around it, which decide how the text behind them is cut."""
    words = context.rstrip()
    last = words.rsplit(maxsplit=1)[-1] if words else ""
    return context[max(0, len(words) - len(last) - 1, len(context) - _ENDING) :]


def text_behind(tokenizer: Any, ids: Sequence[int], context: Sequence[int] | None = None, **decoding: Any) -> str:
    """The text that ``ids`` add to a context: some decoders drop the space that a text begins with.

    ``context`` are its tokens, of which the last few matter; None is something unknown. ``decoding`` is for the
    tokenizer.
    """
    before = plain_ids(tokenizer, letter(tokenizer)) if context is None else list(context[-8:])
    start = str(tokenizer.decode(before, **decoding))
    whole = str(tokenizer.decode([*before, *ids], **decoding))
    return whole[len(start) :] if whole.startswith(start) else str(tokenizer.decode(list(ids), **decoding))


def start_ids(tokenizer: Any) -> list[int]:
    """What stands before a text that begins from nothing: what opens a text, or closes the last, else a line break."""
    opening, closing = special_ids(tokenizer)
    return opening or closing or plain_ids(tokenizer, "\n") or [tokenizer.eos_token_id or 0]


def open_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of texts that will go on: what opens a text is there, what closes it is not."""
    _, closing = special_ids(tokenizer)
    return [ids[: len(ids) - len(closing)] or start_ids(tokenizer) for ids in whole_ids(tokenizer, texts)]


def whole_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of texts with what opens and closes each; says so once where a text has its opening tokens itself."""
    encoded: list[list[int]] = tokenizer(list(texts), add_special_tokens=True)["input_ids"] if texts else []
    opening, _ = special_ids(tokenizer)
    if opening and any(ids[len(opening) : 2 * len(opening)] == opening for ids in encoded):
        _say_once(
            f"a text begins with {tokenizer.decode(opening)!r}, which the tokenizer puts before every text: it stands "
            "there twice; leave it out of texts, prompt and template."
        )
    return encoded


def say_controls(tokenizer: Any, texts: Iterable[tuple[str, str]], *, but: str = "") -> None:
    """Say of each special token that stands in a user's texts that a model does not read it as the letters it is.

    Args:
        tokenizer: a tokenizer of transformers.
        texts: where each stands, and the text.
        but: a token that is taken care of elsewhere.
    """
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    special = sorted({*tokenizer.all_special_tokens, *added} - {but})
    found: dict[str, list[str]] = {}
    for where, text in texts:
        for token in special:
            if token in text:
                found.setdefault(token, []).append(where)
    for token, places in found.items():
        if len(plain_ids(tokenizer, token)) == 1:
            _say_once(
                f"{token!r} is a special token of the task model, which does not read it as these letters; it stands "
                f"in {len(places)} of the texts, {places[0]} first."
            )


def special_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The tokens that a tokenizer opens and closes a text with.

    Raises:
        InputError: a tokenizer that makes something else of a text when it puts them around it.
    """
    text = letter(tokenizer)
    inner, whole = plain_ids(tokenizer, text), list(tokenizer(text)["input_ids"])
    for at in range(len(whole) - len(inner) + 1):
        if whole[at : at + len(inner)] == inner:
            return whole[:at], whole[at + len(inner) :]
    raise InputError(
        f"the tokenizer reads {text!r} as {inner}, and as {whole} with what opens and closes a text; it cannot be used "
        "here."
    )


def truncate(tokenizer: Any, text: str, tokens: int) -> str:
    """Cut ``text`` to its first ``tokens`` tokens, at a character boundary."""
    if not tokenizer.is_fast:  # it does not say where in a text its tokens stand
        if len(plain_ids(tokenizer, text)) <= tokens:
            return text
        sizes = range(len(text))
        return text[: bisect.bisect_right(sizes, tokens, key=lambda n: len(plain_ids(tokenizer, text[:n]))) - 1]
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    if len(encoded["input_ids"]) <= tokens:
        return text
    offsets = encoded["offset_mapping"]
    while tokens > 0 and offsets[tokens][0] < offsets[tokens - 1][1]:
        tokens -= 1  # a character of several tokens is kept whole or not at all
    end = offsets[tokens - 1][1] if tokens > 0 else 0
    return text[:end]


def check_limit(tokenizer: Any) -> None:
    """Raise a ValueError for a tokenizer whose longest text is no number of tokens."""
    most = tokenizer.model_max_length
    if type(most) not in (int, float) or not most >= 1:
        raise ValueError(f"its tokenizer's model_max_length is {most!r}; a number of tokens, 1 or more, was expected")


def check_rows(name: str, tokenizer: Any, embedding: Any) -> None:
    """See that a model has a row for each token that a text can be cut into.

    Some tokenizers know special tokens, of pictures say, that their model has not: a text that holds one of them is
    refused when it is read.

    Args:
        name: what the user calls the model.
        tokenizer: its tokenizer.
        embedding: the module that turns tokens into vectors, a row for each.

    Raises:
        InputError: there is a token without a row that is not special.
    """
    rows, vocabulary = embedding.num_embeddings, tokenizer.get_vocab()
    beyond = {i: token for token, i in vocabulary.items() if i >= rows}
    if ordinary := sorted(beyond.keys() - special_of(tokenizer)):
        raise InputError(
            f"the tokenizer of model {name!r} has {len(vocabulary)} tokens and the model has rows for {rows}: there is "
            f"none for {beyond[ordinary[0]]!r}, number {ordinary[0]}; give the tokenizer that belongs to the model."
        )

    def guard(_module: Any, given: tuple[Any, ...]) -> None:
        if given and given[0].numel() and (most := int(given[0].max())) >= rows:
            raise InputError(f"a text holds {beyond.get(most, most)!r}, which the model {name!r} does not know.")

    if beyond:
        embedding.register_forward_pre_hook(guard)


@functools.lru_cache(maxsize=1 << 14)
def _remembered(tokenizer: Any, text: str, context: str | None) -> tuple[int, ...]:
    return tuple(each_behind(tokenizer, [text], context)[0])


@functools.cache
def _say_once(message: str) -> None:
    _LOG.warning(message)

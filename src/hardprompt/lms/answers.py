"""Answers as tokens: which ones are scored behind a context, how much each counts, and whether answers differ."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from hardprompt.errors import InputError, unknown
from hardprompt.lms.tokens import ids_behind

Pooling = Literal["mean", "sum", "first"]
"""How the log-probabilities of an answer's tokens become its score; answers of one token are the same in each.

``sum`` is the probability of the whole answer, which falls with every token; ``mean`` is that of a token of it;
``first`` looks at no token but the first.
"""


@dataclass(frozen=True)
class Answer:
    """The tokens of an answer and of what stands behind it, and the weight of each one's log-probability."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]


_LONG = 1000  # characters behind the answers; what is longer is not remembered


def answers(
    tokenizer: Any, choices: tuple[str, ...], *, how: Pooling, after: str = "", context: str | None = None
) -> tuple[Answer, ...]:
    """The answers as they go on behind a context, with what stands behind each of them.

    What stands behind is the same for all and counts in full, whatever the length of the answer; it does not count at
    all where only the first token does.

    Args:
        tokenizer: a tokenizer of transformers.
        choices: the answers.
        how: how the log-probabilities of an answer's own tokens are put together.
        after: what stands behind the answer.
        context: what stands before it; None is something unknown.

    Raises:
        InputError: an answer without a token, or two that no score can tell apart.
    """
    made = _remembered if len(after) <= _LONG else _answers
    return made(tokenizer, choices, how, after, context)


def _answers(
    tokenizer: Any, choices: tuple[str, ...], how: Pooling, after: str, context: str | None
) -> tuple[Answer, ...]:
    if how not in get_args(Pooling):
        raise unknown("score", str(how), get_args(Pooling))
    found: dict[tuple[int, ...], str] = {}
    made = []
    for choice in choices:
        own = ids_behind(tokenizer, choice, context)
        if not own:
            raise InputError(f"the choice {choice!r} has no token; give a word.")
        ids = ids_behind(tokenizer, choice + after, context) if after else own
        alike = next((i for i, (a, b) in enumerate(zip(ids, own, strict=False)) if a != b), len(own))
        length = max(1, min(alike, len(ids)))  # of the answer itself: its end may grow together with what is behind
        if how == "first":
            ids, length = ids[:1], 1
        if (other := found.setdefault(tuple(ids), choice)) != choice:
            tokens = " ".join(map(repr, tokenizer.convert_ids_to_tokens(ids)))
            what = "begin with the same token" if how == "first" else "are the same to the task model"
            raise InputError(f"the answers {other!r} and {choice!r} {what}, {tokens}; give words that it tells apart.")
        share = 1.0 / length if how == "mean" else 1.0
        made.append(Answer(tuple(ids), (share,) * length + (1.0,) * (len(ids) - length)))
    return tuple(made)


_remembered = functools.lru_cache(maxsize=1 << 14)(_answers)


def check_known(tokenizer: Any, options: Sequence[Answer], rows: int) -> None:
    """Raise an InputError for a token of an answer that a model of so many tokens does not know."""
    if most := max((i for option in options for i in option.ids if i >= rows), default=None):
        token = tokenizer.convert_ids_to_tokens(most)
        raise InputError(f"an answer holds {token!r}, which the task model does not know; give words.")


def uneven(options: Sequence[Answer]) -> bool:
    """Whether the first token's normaliser, which all answers share, counts more for one than for another."""
    return len({option.weights[0] for option in options}) > 1

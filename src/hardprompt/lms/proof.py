"""Decides how a causal model is run: what is quick is held against the model's own plain forward, once a model."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from transformers.utils import ModelOutput

from hardprompt.errors import InputError
from hardprompt.lms import probes
from hardprompt.lms.head import Head

_LOG = logging.getLogger(__name__)

FIRST = 8
"""Tokens of the sequences that a way of running a model is tried on first."""

APART = 128
"""Tokens in which two long sequences of a ``pair`` differ; what stands before is run as a kept beginning is."""

States = list[list[Tensor]]
Quick = Callable[[list[list[int]], list[list[int]]], States]
"""A way of running a model: token ids of sequences, and places in each, to the states at those or the last of those."""

_LIMIT, _HALF_LIMIT = 3e-4, 5e-2  # of a log-probability; in half precision relative to the largest
_NOTHING = -60.0  # log-probability of a token that never comes


class Proved:
    """Up to which length each quick way of running a model was found to give what its own forward gives.

    A way is tried when it is first wanted, on sequences of a power of two tokens that covers what is wanted: a window
    of attention, chunks, or angles that change with the length show then. ``longest`` is what the model reads.
    """

    def __init__(self, longest: int | None) -> None:
        self._longest = longest
        self._right: dict[str, int] = {}
        self._wrong: dict[str, int] = {}

    def holds(self, way: str, length: int, right: Callable[[int], bool]) -> bool:
        """Whether sequences of so many tokens may be run that way; ``right`` tries it at a length."""
        if length <= self._right.get(way, 0):
            return True
        at = max(FIRST, 1 << (length - 1).bit_length())
        if self._longest is not None:  # an index out of a table of positions cannot be recovered from on a GPU
            at = max(min(at, self._longest), min(at, length))
        if at >= self._wrong.get(way, at + 1):
            return False
        if right(at):
            self._right[way] = at
            return True
        self._wrong[way] = at
        said = _LOG.warning if at > FIRST else _LOG.info  # who asks for the first says it
        said(
            "at %d tokens, run as %r gives something else than the model itself: so long a text is slower",
            at,
            way,
        )
        return False


def pair(vocabulary: int, length: int) -> tuple[list[int], list[int]]:
    """Token ids of two sequences, the first of so many tokens, that begin alike; long ones part near their ends."""
    first, half = [(7 * i + 3) % vocabulary for i in range(length)], max(1, length // 2, length - APART)
    own = ((5 * i + 11) % vocabulary for i in range(min(length // 4, APART // 2)))
    return first, [*first[:half], *own, 1 % vocabulary]


@torch.no_grad()
def right(head: Head, own: Callable[[list[int]], Tensor], quick: Quick, length: int) -> bool:
    """Whether ``quick`` leads to the logits that the model's own forward over each of a ``pair`` leads to.

    Args:
        head: the model's.
        own: states of one sequence by the model's own forward.
        quick: the way that is tried.
        length: of the pair.
    """
    tried = list(pair(len(head.weight), length))
    points = [sorted({max(1, length // 2) - 1, len(ids) - 2, len(ids) - 1}) for ids in tried]
    try:
        found = quick(tried, points)
        # which fails as well where fewer positions can be read than the configuration says
        plain = [own(ids)[places[-len(some) :]] for ids, places, some in zip(tried, points, found, strict=True)]
    except probes.ERRORS as error:
        _LOG.debug("running the model on %d tokens failed: %s", length, error)
        return False
    logits = head.logits(torch.cat([*plain, *(torch.stack(some) for some in found)]))
    return agree(*logits.chunk(2), half=head.half)


class Plain(NamedTuple):
    """What a model's own forward showed."""

    head: Head
    decodes: bool  # whether the decoder alone gives the states that the head is given
    states: dict[tuple[int, ...], Float[Tensor, "tokens hidden"]]  # of the first pair


@torch.no_grad()
def prove(model: Any, *, like: Head | None = None) -> Plain:
    """Run a causal model of transformers as its authors wrote it, on a short pair.

    Both sequences share a pass, which takes as long as one; where that makes no sense, each has its own.
    ``like`` is the head of the same model in another precision.

    Raises:
        InputError: it fails, gives what is not finite or changes with later tokens, or has no output matrix.
    """
    try:
        try:
            return _plain(model, like, together=True)
        except Exception:
            return _plain(model, like, together=False)
    except Exception as error:  # the code is any model's: it may raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise InputError(f"a {type(model).__name__} cannot be run as a causal model: {reason}.") from error


def _plain(model: Any, like: Head | None, *, together: bool) -> Plain:
    head = Head(model, like=like)
    first, second = pair(len(head.weight), FIRST)
    filled = [*second, *first[len(second) :]]  # to the same length: no token sees what stands behind it
    with _last_states(model) as last:
        states, logits = head.whole(
            torch.tensor([first, filled] if together else [first], device=model.device), together=together
        )
    other = states[1] if together else head.states(input_ids=torch.tensor([second], device=model.device))[0]
    if not bool(logits.float().log_softmax(-1).isfinite().any(-1).all()):
        raise ValueError("its logits are not finite")
    half = FIRST // 2
    found = head.logits(torch.cat([states[0], other[half - 1 : half]]))
    if not agree(logits[0], found[:-1], half=head.half):
        raise ValueError("its logits do not follow from its output matrix")
    if not agree(found[-1:], found[half - 1 : half], half=head.half):
        raise ValueError("what it makes of a token changes with the tokens behind it")
    decodes = len(last) == 1 and probes.alike(states, last[0])
    return Plain(head, decodes, {tuple(first): states[0], tuple(second): other[: len(second)]})


@contextlib.contextmanager
def _last_states(model: Any) -> Iterator[list[Tensor]]:
    """What the model's decoder gives while the block runs, if it has one."""
    found: list[Tensor] = []

    def watch(_module: Any, _args: Any, output: Any) -> None:
        if isinstance(output, ModelOutput) and "last_hidden_state" in output:
            found.append(output["last_hidden_state"])

    try:
        handle = model.get_decoder().register_forward_hook(watch)
    except AttributeError:
        yield []
        return
    try:
        yield found
    finally:
        handle.remove()


def agree(plain: Float[Tensor, "n vocabulary"], other: Float[Tensor, "n vocabulary"], *, half: bool) -> bool:
    """Whether logits give the same log-probabilities but for rounding; those of next to no probability do not count."""
    one, two = (logits.float().log_softmax(-1).clamp_min(_NOTHING) for logits in (plain, other))
    if one.shape != two.shape:
        return False
    return probes.apart(one, two) <= _HALF_LIMIT if half else float((one - two).abs().max()) <= _LIMIT

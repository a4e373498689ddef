"""Runs sequences of unlike lengths through a frozen encoder as one row without padding, each attending to itself."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from hardprompt.models import quiet
from hardprompt.placing import put

_NAME = "hardprompt_unpadded"
_LENGTHS: ContextVar[Sequence[int] | None] = ContextVar("lengths", default=None)  # of the row that is being run
_UNKNOWN = ("position_bias", "softcap")  # what some models add to attention, and this one does not know


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **settings: Any
) -> tuple[Tensor, None]:
    """Attention of transformers' interface; neighbours of one length share a product. Without lengths it is plain.

    Raises:
        TypeError: the model adds something to its attention that is not known here.
    """
    lengths = _LENGTHS.get()
    if lengths is None:
        plain: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
        return plain
    if given := [name for name in _UNKNOWN if settings.get(name) is not None]:
        raise TypeError(f"attention with {given[0]} is not known here.")
    parts, begin = [], 0
    for length, alike in itertools.groupby(lengths):
        count = len(list(alike))
        end = begin + count * length
        q, k, v = (x[0, :, begin:end].unflatten(1, (count, length)).transpose(0, 1) for x in (query, key, value))
        out = scaled_dot_product_attention(q, k, v, scale=settings.get("scaling"), enable_gqa=q.shape[1] != k.shape[1])
        parts.append(out.transpose(1, 2).flatten(0, 1))
        begin = end
    return torch.cat(parts)[None], None


AttentionInterface.register(_NAME, attend)
AttentionMaskInterface.register(_NAME, sdpa_mask)


class Unpadded:
    """Lays sequences end to end for a model whose attention can be replaced.

    The model's attention is replaced for good, by one that is the plain one whenever no row is being run here.

    Args:
        model: an encoder of transformers.
        first: the position of a sequence's first token; some models count from behind the padding token's number.
    """

    def __init__(self, model: Any, *, first: int) -> None:
        self._device = next(model.parameters()).device
        self._first = first
        windows = [getattr(model.config, name, None) for name in ("sliding_window", "local_attention", "window_size")]
        self._window = min((w for w in windows if isinstance(w, int)), default=None)
        if model.config._attn_implementation != _NAME:
            with quiet():  # some models say at length that theirs cannot be replaced; the caller's probe finds that out
                model.set_attn_implementation(_NAME)

    def takes(self, sequences: Sequence[Sequence[int]]) -> bool:
        """Whether no sequence is longer than a window of the model's attention."""
        return self._window is None or max(map(len, sequences)) <= self._window

    @contextmanager
    def row(self, sequences: Sequence[Sequence[int]]) -> Iterator[dict[str, Tensor]]:
        """The model's inputs for these sequences as one row, to be run inside of the block; best sorted by length."""
        ids = put([list(itertools.chain.from_iterable(sequences))], self._device)
        positions = [self._first + i for sequence in sequences for i in range(len(sequence))]
        token = _LENGTHS.set([len(sequence) for sequence in sequences])
        try:
            yield {"input_ids": ids, "position_ids": put([positions], self._device)}
        finally:
            _LENGTHS.reset(token)

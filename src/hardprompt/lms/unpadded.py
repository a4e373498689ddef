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

from hardprompt.lms.placing import put
from hardprompt.lms.quiet import quiet

_NAME = "hardprompt_unpadded"
_LENGTHS: ContextVar[Sequence[int]] = ContextVar("lengths")  # of the row that is being run
_UNKNOWN = ("position_bias", "softcap")  # what some models add to attention, and this one does not know


def attend(
    _module: Any, query: Tensor, key: Tensor, value: Tensor, _mask: Tensor | None, **settings: Any
) -> tuple[Tensor, None]:
    """Attention of transformers' interface, within each sequence of the row; those of one length share a product."""
    lengths = _LENGTHS.get()
    given = [name for name in _UNKNOWN if settings.get(name) is not None]
    if given or query.shape[0] != 1 or query.shape[2] != sum(lengths):
        raise ValueError(f"attention of {tuple(query.shape)} with {given or 'nothing'} is not that of this row.")
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
# A sequence sees all of itself and nothing else, which ``attend`` knows without a mask.
AttentionMaskInterface.register(_NAME, lambda *_, **__: None)


class Unpadded:
    """Lays sequences end to end for a model whose attention can be replaced, and replaces it while they run.

    ``first`` is the position of a sequence's first token: some models count from behind the padding token's number.
    """

    def __init__(self, model: Any, *, first: int) -> None:
        self.first = first
        self._model = model
        self._device = next(model.parameters()).device

    @contextmanager
    def row(self, sequences: Sequence[Sequence[int]]) -> Iterator[dict[str, Tensor]]:
        """The model's inputs for these sequences as one row, to be run inside of the block; best sorted by length."""
        ids = put([list(itertools.chain.from_iterable(sequences))], self._device)
        positions = [self.first + i for sequence in sequences for i in range(len(sequence))]
        before = self._model.config._attn_implementation
        token = _LENGTHS.set([len(sequence) for sequence in sequences])
        try:
            with quiet():  # some models only say at length that theirs stays what it is
                self._model.set_attn_implementation(_NAME)
            if self._model.config._attn_implementation != _NAME:
                raise ValueError(f"the attention of {type(self._model).__name__} cannot be replaced.")
            yield {"input_ids": ids, "position_ids": put([positions], self._device)}
        finally:
            _LENGTHS.reset(token)
            with quiet():
                self._model.set_attn_implementation(before)

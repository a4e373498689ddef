"""Keys and values of beginnings of texts: as they are held, as a pass reads them, and the room that models share."""

import functools
import gc
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from hardprompt.lms.machine import memory

_MOST = 2 << 30  # bytes, where passes run on the CPU
_SHARE = 4  # and never more than this part of the memory of the machine, or of the GPU


class Room:
    """Bytes that all models of a process may hold of keys and values; what an owner took ends with it at the latest.

    Who asks first is served first, and what is in stays in: what a search holds follows from the search, so a resumed
    one computes the same bits. Nobody is put out for another.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._taken: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    @property
    def taken(self) -> int:
        """Bytes."""
        return sum(self._taken.values())

    def take(self, owner: object, sizes: Sequence[int], *, share: float = 1.0) -> list[bool]:
        """Take what fits of several sizes, in their order, and say which did; others leave ``1 - share`` of the room.

        What no longer lives must not decide: garbage is collected before anything is refused.
        """
        most = int(self.limit * share)
        if self.taken + sum(sizes) > most:
            gc.collect()
        taken, found = self.taken, []
        for size in sizes:
            found.append(taken + size <= most)
            taken += size * found[-1]
        self._taken[owner] = self._taken.get(owner, 0) + sum(s for s, fits in zip(sizes, found, strict=True) if fits)
        return found

    def give(self, owner: object, size: int) -> None:
        """Give back."""
        self._taken[owner] -= size


@functools.cache
def room(device: torch.device) -> Room:
    """The one of this process for passes on that device."""
    if device.type == "cuda":
        return Room(torch.cuda.get_device_properties(device).total_memory // _SHARE)
    return Room(min(_MOST, memory().total // _SHARE))


@dataclass(eq=False)
class Kept:
    """What a model made of a beginning."""

    ids: list[int]
    layers: list[tuple[Tensor, Tensor]]  # of each its keys and values: heads, len(ids), dim

    @property
    def bytes(self) -> int:
        """Of memory."""
        return sum(part.numel() * part.element_size() for layer in self.layers for part in layer)


class _Lent(DynamicLayer):  # type: ignore[misc]  # transformers is Any to us
    """A layer of a cache that begins each row with what is kept of it; it is put together for its own pass only."""

    def __init__(self, rows: list[tuple[Tensor, Tensor] | None], past: int) -> None:
        super().__init__()
        self._rows, self._length, self._past = rows, past, past

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Keys and values of the whole rows: what is kept, zeros up to the longest of it, what is new."""
        self._length += key_states.shape[-2]
        return self._behind(key_states, 0), self._behind(value_states, 1)

    def get_seq_length(self) -> int:
        """Places so far."""
        return self._length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Places that so many new tokens may see, and the first of them."""
        return self._length + query_length, 0

    def _behind(self, new: Tensor, part: int) -> Tensor:
        rows, heads, _, dim = new.shape
        before = torch.zeros(rows, heads, self._past, dim, dtype=new.dtype, device=new.device)
        for r, row in enumerate(self._rows):
            if row is not None:
                before[r, :, : row[part].shape[-2]] = row[part]
        return torch.cat([before, new], dim=-2)


def lent(rows: Sequence[Kept | None], past: int) -> DynamicCache:
    """A cache for one pass over rows, each behind what is kept of its beginning; ``past`` tokens are the longest."""
    cache = DynamicCache()
    first = next((row for row in rows if row is not None), None)
    for i in range(len(first.layers) if first is not None else 0):
        cache.layers.append(_Lent([None if row is None else row.layers[i] for row in rows], past))
    return cache


def taken_apart(cache: DynamicCache, sequences: Sequence[Sequence[int]]) -> list[Kept]:
    """What a pass over padded sequences left in its cache, which is emptied on the way."""
    found = [Kept(list(ids), []) for ids in sequences]
    for layer in cache.layers:
        keys, values = layer.keys, layer.values
        layer.keys = layer.values = None
        for row, kept in enumerate(found):
            own = keys[row, :, : len(kept.ids)], values[row, :, : len(kept.ids)]
            # a part of a tensor would hold the whole of it
            kept.layers.append(own if len(found) == 1 else (own[0].clone(), own[1].clone()))
    return found

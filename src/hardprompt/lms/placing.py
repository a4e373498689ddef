"""Puts what was made on the host where a model computes, without waiting for what runs there."""

from collections.abc import Sequence

import torch
from torch import Tensor


def put(values: Tensor | Sequence[int] | Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """``values`` on ``device``.

    A copy from pageable memory waits for a GPU, so what goes there is pinned first.
    """
    tensor = values if isinstance(values, Tensor) else torch.tensor(values)
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def read(rows: Sequence[Tensor]) -> list[Tensor]:
    """Vectors from where they were computed, in one copy that waits for them."""
    return list(torch.cat(list(rows)).cpu().split([len(row) for row in rows]))

"""What the probes share that find out how a model can be run."""

import torch
from torch import Tensor

ERRORS = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
"""What a model may raise that is asked for more than it can do."""

_LIMITS = {torch.float32: 1e-3}
_HALF = 5e-2


def alike(whole: Tensor, other: Tensor, *, limit: float | None = None) -> bool:
    """Whether two results differ by no more than rounding, relative to the largest entry."""
    return whole.shape == other.shape and apart(whole, other) <= (limit or _LIMITS.get(whole.dtype, _HALF))


def apart(whole: Tensor, other: Tensor) -> float:
    """The largest difference, relative to the largest entry."""
    return float((whole.float() - other.float()).abs().max() / whole.float().abs().max().clamp_min(1e-6))

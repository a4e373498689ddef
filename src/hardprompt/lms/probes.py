"""What the probes share that find out how a model can be run."""

import torch
from torch import Tensor

ERRORS = (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
"""What a model may raise that is asked for more than it can do."""

_LIMIT, _HALF_LIMIT = 1e-3, 5e-2


def alike(whole: Tensor, other: Tensor) -> bool:
    """Whether two results differ by no more than rounding, relative to the largest entry."""
    limit = _LIMIT if whole.dtype == torch.float32 else _HALF_LIMIT
    return whole.shape == other.shape and apart(whole, other) <= limit


def apart(whole: Tensor, other: Tensor) -> float:
    """The largest difference, relative to the largest entry."""
    return float((whole.float() - other.float()).abs().max() / whole.float().abs().max().clamp_min(1e-6))

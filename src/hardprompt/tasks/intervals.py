"""The bootstrap interval of a mean, and the percentiles that make one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000


def bootstrap(values: NDArray[Any], *, seed: int = 0) -> list[float]:
    """95 % percentile bootstrap interval of the mean of ``values``."""
    # How often each distinct value is drawn is multinomial: no table of resamples by values is needed.
    distinct, counts = np.unique(values, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(len(values), counts / len(values), size=RESAMPLES)
    return [*percentiles(draws @ distinct / len(values))]


def percentiles(draws: NDArray[Any]) -> tuple[float, float]:
    """Between which 95 % of resampled values lie."""
    low, high = np.percentile(draws, (2.5, 97.5))
    return float(low), float(high)

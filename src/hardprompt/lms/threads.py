"""How many CPU threads to use: as many as help at this moment, found by trying."""

import os
import statistics
import time
from pathlib import Path

import torch

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_TURNS = 7


def choose() -> int:
    """The number of threads, among one, half and all of those usable, that multiplies matrices fastest now.

    Where other work shares the cores, two threads that wait for each other may be several times slower than one. It
    takes a tenth of a second; a choice beyond one has to be worth it, since sums in another order have other bits.
    """
    usable = min(torch.get_num_threads(), _quota())
    candidates = sorted({1, max(1, usable // 2), usable})
    if len(candidates) == 1:
        return candidates[0]
    before = torch.get_num_threads()
    try:
        times = {n: _time(n) for n in candidates}
    finally:
        torch.set_num_threads(before)
    return min(candidates, key=lambda n: times[n] * (0.9 if n == 1 else 1.0))


def _time(threads: int) -> float:
    """Median seconds of a product of the size that a step of a small model makes."""
    torch.set_num_threads(threads)
    a, b = torch.ones(512, 1024), torch.ones(1024, 1024)
    seconds = []
    for _ in range(_TURNS + 1):  # the first warms up
        began = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


def _quota() -> int:
    """CPUs that a container may use, as far as the system says."""
    try:
        quota, period = _QUOTA.read_text().split()[:2]
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):  # no such limit, or "max"
        return os.cpu_count() or 1

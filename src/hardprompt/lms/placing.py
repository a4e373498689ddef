"""Where and in which precision things are computed: device, half precision, threads, and copies from and to a GPU."""

import copy
import os
import statistics
import timeit
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

_HALF_FROM = 10_000_000  # parameters
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_TURNS = 7


@runtime_checkable
class Copyable(Protocol):
    """A task LM over a model on this machine, which can be run in another precision."""

    model: Any
    device: torch.device

    def over(self, model: Any) -> Any:
        """The same over a copy of the model."""


def device() -> str:
    """``cuda`` when there is one, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def half(device: str) -> torch.dtype | None:
    """The half precision that ``device`` (``cpu`` or ``cuda``) computes natively, or None."""
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    able: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # older releases of torch do not say
    return torch.bfloat16 if any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")) else None


def search_copy(lm: Any, precision: str) -> tuple[Any, str]:
    """The task LM that a search asks, in that precision, and the precision's name; ``lm`` itself is float32.

    ``auto`` is the device's half precision for models of 10 million parameters or more: a smaller one is fast anyway.
    Else it is ``float32``, ``bfloat16`` or ``float16``. An LM that is no ``Copyable`` is handed back as it is.
    """
    if not isinstance(lm, Copyable):
        return lm, "float32"
    model = lm.model
    dtype = half(lm.device.type) if sum(p.numel() for p in model.parameters()) >= _HALF_FROM else None
    if precision != "auto":
        dtype = getattr(torch, precision)
    if dtype in (None, torch.float32):
        return lm, "float32"
    # Parameters only: a position's angles, which are buffers, lose their meaning in half precision.
    halved = {id(p): torch.nn.Parameter(p.detach().to(dtype), requires_grad=False) for p in model.parameters()}
    return lm.over(copy.deepcopy(model, halved)), str(dtype).removeprefix("torch.")


def put(values: Tensor | Sequence[int] | Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """``values`` on ``device``.

    A copy from pageable memory waits for a GPU, so what goes there is pinned first.
    """
    tensor = values if isinstance(values, Tensor) else torch.tensor(values)
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def padded(sequences: Sequence[Sequence[int]], device: torch.device, *, pad: int = 0) -> tuple[Tensor, Tensor]:
    """Sequences of tokens as one batch, filled up on the right, and 1 wherever a token is one of theirs."""
    width = max(map(len, sequences))
    ids = put([[*s, *[pad] * (width - len(s))] for s in sequences], device)
    return ids, put([[1] * len(s) + [0] * (width - len(s)) for s in sequences], device)


def read(rows: Sequence[Tensor]) -> list[Tensor]:
    """Vectors from where they were computed, in one copy that waits for them."""
    return list(torch.cat(list(rows)).cpu().split([len(row) for row in rows]))


def choose_threads() -> int:
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
    return statistics.median(timeit.repeat(lambda: a @ b, number=1, repeat=_TURNS + 1)[1:])  # the first warms up


def _quota() -> int:
    """CPUs that a container may use, as far as the system says."""
    try:
        quota, period = _QUOTA.read_text().split()[:2]
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):  # no such limit, or "max"
        return os.cpu_count() or 1

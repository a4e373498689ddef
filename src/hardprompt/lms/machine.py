"""What this machine computes with, from the system's own files where they say enough, since torch takes seconds."""

import os
import sys
from pathlib import Path
from typing import NamedTuple

_GPUS = ("nvidia[0-9]*", "kfd", "dxg")  # of /dev: NVIDIA's, AMD's, and either under Windows
_HALVES = {"avx512_bf16", "amx_bf16", "bf16"}  # as ``placing.half`` has them from torch


class Machine(NamedTuple):
    """Where searches run here, and how."""

    device: str  # ``cpu``, or the name of the GPU
    precision: str  # that ``auto`` stands for with all but the smallest models
    threads: int  # at most


def machine() -> Machine:
    """This one."""
    flags = _cpu_flags()
    if flags and not any(next(Path("/dev").glob(name), None) for name in _GPUS):
        return Machine("cpu", "bfloat16" if flags & _HALVES else "float32", len(os.sched_getaffinity(0)))
    import torch

    from hardprompt.lms.placing import device, half

    where = device()
    name = torch.cuda.get_device_name() if where == "cuda" else where
    return Machine(name, str(half(where) or torch.float32).removeprefix("torch."), torch.get_num_threads())


def _cpu_flags() -> set[str]:
    """What Linux says that the first processor can do; nothing elsewhere."""
    if sys.platform != "linux":
        return set()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith(("flags", "Features"))), set())

"""What this machine computes with and its memory, from the system's own files where they do: torch takes seconds."""

import os
import sys
from pathlib import Path
from typing import NamedTuple

_GPUS = ("nvidia[0-9]*", "kfd", "dxg")  # of /dev: NVIDIA's, AMD's, and either under Windows
_CONTAINER = Path("/sys/fs/cgroup")
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


class Memory(NamedTuple):
    """Bytes of main memory that a process may use here."""

    total: int
    available: int


def memory() -> Memory:
    """Of this machine, or of the container that it is."""
    import psutil

    found = psutil.virtual_memory()
    total, available = found.total, found.available
    try:
        limit = int((_CONTAINER / "memory.max").read_text())
        used = int((_CONTAINER / "memory.stat").read_text().split()[1])  # "anon N": cached files can be dropped
    except (OSError, ValueError):  # no such limit, or "max"
        return Memory(total, available)
    return Memory(min(total, limit), min(available, max(0, limit - used)))

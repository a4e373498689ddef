"""Compares numbers and states, and says what differs."""

import itertools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from hardprompt.search.files import StateStore

Subject = TypeVar("Subject")


def check_all(checks: Sequence[Callable[[Subject], None]], subject: Subject) -> None:
    """Run every check; the first that fails raises an AssertionError."""
    for check in checks:
        check(subject)


def assert_close(found: Tensor, expected: Tensor, what: str, *, rtol: float = 1e-4, atol: float = 1e-4) -> None:
    """Fail with ``what`` unless the numbers are the same but for rounding."""
    assert found.shape == expected.shape, f"{what}: shapes {tuple(found.shape)} and {tuple(expected.shape)}."
    a, b = found.detach().double().cpu(), expected.detach().double().cpu()
    most = float((a - b).abs().max()) if a.numel() else 0.0
    assert torch.allclose(a, b, rtol=rtol, atol=atol), f"{what}: they differ by up to {most:g}."


def assert_each_alone(call: Callable[[list[Any]], Tensor], batch: Sequence[Any], what: str) -> None:
    """Fail unless each row is the same alone, in another order, and twice in one call."""
    together = call(list(batch))
    alone = torch.cat([call([one]) for one in batch])
    assert_close(alone, together, f"{what} must not depend on company; alone and together")
    assert_close(call([*batch][::-1]).flip(0), together, f"{what} must follow the order of what is asked")
    assert_close(call([batch[0], batch[0]]), together[[0, 0]], f"{what} of one thing asked twice must be the same")


def stored(state: dict[str, Any]) -> dict[str, Any]:
    """A state as a checkpoint gives it back."""
    with tempfile.TemporaryDirectory() as folder:
        store = StateStore(Path(folder) / "checkpoint")
        store.save(1, state)
        loaded = store.load()
    assert loaded is not None, "a state that was saved must be there."
    return loaded


def differing(a: Sequence[Any], b: Sequence[Any]) -> str:
    """Where two sequences part, for a message."""
    at = next((i for i, (x, y) in enumerate(itertools.zip_longest(a, b)) if x != y), None)
    return "nowhere" if at is None else f"at place {at}: {[*a[at : at + 1]]} and {[*b[at : at + 1]]}"

"""Vectors in the place of tokens: what an input embedding makes of each token, and prompts that are no tokens."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


@torch.no_grad()
def token_vectors(embedding: Any) -> Float[Tensor, "vocabulary d"]:
    """What an input embedding makes of each token, as the model sees it, float32 on the CPU."""
    ids = torch.arange(len(embedding.weight), device=embedding.weight.device)
    table: Tensor = embedding(ids).float().cpu()
    return table


@contextlib.contextmanager
def substituted(embedding: Any, begin: Int[Tensor, " rows"], vectors: Float[Tensor, "rows length d"]) -> Iterator[None]:
    """Put vectors in the place of what ``embedding`` returns from each row's column ``begin`` on."""

    def replace(_module: Any, _inputs: Any, output: Tensor) -> Tensor:
        row = torch.arange(len(vectors), device=output.device)[:, None]
        column = begin.to(output.device)[:, None] + torch.arange(vectors.shape[1], device=output.device)
        return output.index_put((row, column), vectors.to(output))

    hook = embedding.register_forward_hook(replace)
    try:
        yield
    finally:
        hook.remove()

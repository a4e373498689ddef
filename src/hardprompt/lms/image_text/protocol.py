"""What an image–text model is, and how it reads texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from hardprompt.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float
    from PIL.Image import Image
    from torch import Tensor

_TEXTS = 64  # at once


@runtime_checkable
class ImageText(Protocol):
    """A frozen model whose cosine of a picture's and a text's vector says how well they fit."""

    name: str  # what the user calls it
    stand_in: str | None  # a sentence to show wherever its scores are shown, or None when it needs no excuse
    text_limit: int  # tokens that a text may have, special ones included

    def images(self, images: Sequence[Image]) -> Float[Tensor, "n d"]:
        """Unit vectors of one picture or more, float32 on the CPU."""

    def texts(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Unit vectors of one text or more, float32 on the CPU; an InputError for one above ``text_limit``."""

    def count(self, text: str) -> int:
        """Tokens of ``text``, special ones included."""

    tokenizer: Any  # of its texts

    @property
    def embedding(self) -> Any:
        """The module that turns a text's tokens into vectors."""

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text as it is read, special ones included."""

    def padding(self, tokens: int, /) -> int:
        """Columns that ``read`` puts before texts that all have so many tokens."""

    def read(self, ids: Sequence[Sequence[int]]) -> Float[Tensor, "n d"]:
        """Unit vectors of tokenised texts, with gradients for what the input embedding gives."""


def check_length(tower: ImageText, text: str, tokens: int) -> None:
    """Raise an InputError for a text of more tokens than an image–text model reads."""
    if tokens > tower.text_limit:
        raise InputError(
            f"the text {text[:60]!r} has {tokens} tokens; {tower.name!r} reads at most {tower.text_limit}."
        )


def read_texts(tower: ImageText, texts: Sequence[str]) -> Float[Tensor, "n d"]:
    """Unit vectors of one text or more; raises an InputError for one that the model cannot read whole."""
    import torch

    ids = tower.ids(texts)
    for text, own in zip(texts, ids, strict=True):
        check_length(tower, text, len(own))
    return torch.cat([tower.read(ids[start : start + _TEXTS]) for start in range(0, len(ids), _TEXTS)])

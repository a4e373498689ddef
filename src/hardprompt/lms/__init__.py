"""Language models and image–text models, frozen: strings in, numbers out; they know no task.

Public: ``TaskLM`` (what is prompted), ``models.Models`` and ``load`` (by name), ``causal.CausalLM``,
``masked.MaskedLM``, ``remote.RemoteLM``, ``policy.PolicyLM`` (what proposes), ``embedding.Embedder``, ``image_text``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from hardprompt.lms.answers import Pooling


@runtime_checkable
class TaskLM(Protocol):
    """A frozen model that is prompted."""

    blank: str  # what marks the place of the choice inside a context; empty when the choice follows the context
    context_length: int | None  # tokens that the model can read, or None when there is no limit

    @property
    def tokens_run(self) -> int:
        """Tokens that went through the model so far."""

    def score(
        self, contexts: Sequence[str], choices: Sequence[str], *, after: str = "", how: Pooling = "sum"
    ) -> Float[Tensor, "n choices"]:
        """Log-probability of each choice in each context, up to one constant per context.

        ``after`` stands behind a choice that follows its context; ``how`` says what a choice of several tokens counts.
        """

    def prepare(self, contexts: Sequence[str]) -> None:
        """A hint that later contexts begin with these strings; never changes a score."""

    def count(self, text: str) -> int:
        """Tokens of ``text``."""

    def truncate(self, text: str, tokens: int) -> str:
        """The first ``tokens`` tokens of ``text`` as a string."""

"""The policy language model, frozen: the states of prefixes of a prompt, and what may come next."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.lms.packing import PackedModel
from hardprompt.lms.tokens import plain_ids, start_ids
from hardprompt.lms.vocabulary import Tokens, allowed_tokens, first_tokens


class PolicyLM:
    """A frozen causal model that gives, for a prefix of a prompt, a state and the probability of the next token.

    Args:
        model: any causal model of transformers.
        tokenizer: its tokenizer.
        start: text that the prompt is imagined to follow; empty for the beginning of a text.
        tokens: ``words`` (one line of whole words and ordinary punctuation) or ``any`` (the paper).
        script: the script of the words, by Unicode name.
        spaced: whether a prompt's first word carries a leading space.
        probed: as ``PackedModel`` has it.

    Raises:
        InputError: no token of the vocabulary may be proposed.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        start: str = "",
        tokens: Tokens = "words",
        script: str = "latin",
        spaced: bool = True,
        probed: PackedModel | None = None,
    ) -> None:
        self.packed = PackedModel(model, probed=probed)
        self.tokenizer = tokenizer
        self.head_weight: Tensor = self.packed.head.weight.detach()
        self.head_bias: Tensor | None = None if self.packed.head.bias is None else self.packed.head.bias.detach()
        allowed = allowed_tokens(tokenizer, len(self.head_weight), tokens=tokens, script=script)
        self.opens, self.follows = first_tokens(tokenizer, allowed, tokens=tokens, spaced=spaced)
        self._start = [*start_ids(tokenizer), *(plain_ids(tokenizer, start) if start else [])]
        self.packed.keep([self._start])
        self.logits_computed = 0  # rows of products with the vocabulary: the work, counted instead of timed
        self.vocabulary_size, self.hidden_size = self.head_weight.shape  # rows of the output head, width of the states

    @property
    def device(self) -> torch.device:
        """Where the model, and so its states, are."""
        device: torch.device = self.packed.device
        return device

    def states(self, prefixes: Sequence[Sequence[int]]) -> Float[Tensor, "n hidden"]:
        """Last hidden state e_t after each prefix (token ids, possibly none), float32 on the model's device."""
        (states,) = self.packed.hidden([[*self._start, *prefix] for prefix in prefixes])
        return states.float()

    @torch.no_grad()
    def logits(self, states: Float[Tensor, "n hidden"]) -> Float[Tensor, "n vocabulary"]:
        """W_LM e_t for each state, as the model itself would have it, float32 on its device."""
        return self.packed.finish(self.head(states))

    def head(self, states: Float[Tensor, "n hidden"]) -> Float[Tensor, "n vocabulary"]:
        """The frozen output head applied to any vectors, float32 on its device, differentiable."""
        self.logits_computed += len(states)
        logits = (states.to(self.head_weight) @ self.head_weight.T).float()
        return logits if self.head_bias is None else logits + self.head_bias.float()

    def text(self, ids: Sequence[int]) -> str:
        """The string that a user would paste."""
        return str(self.tokenizer.decode(list(ids)))

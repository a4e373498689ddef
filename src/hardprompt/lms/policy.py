"""The policy language model, frozen: the states of prefixes of a prompt, and what may come next."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, InitVar, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.lms.packing import PackedModel
from hardprompt.lms.tokens import plain_ids, start_ids
from hardprompt.lms.vocabulary import Place, Tokens, allowed_tokens, first_tokens, prompt_text


@dataclass(eq=False)
class PolicyLM:
    """A frozen causal model that gives, for a prefix of a prompt, a state and the probability of the next token.

    Raises:
        InputError: no token of the vocabulary may be proposed.
    """

    model: InitVar[Any]  # any causal model of transformers
    tokenizer: Any  # its tokenizer
    _: KW_ONLY
    start: str = ""  # text that the prompt is imagined to follow; empty for the beginning of a text
    tokens: Tokens = "words"  # one line of whole words and ordinary punctuation; ``any`` is the paper
    script: str = "latin"  # of the words, by Unicode name
    spaced: bool = True  # whether a prompt's first word carries a leading space
    probed: InitVar[PackedModel | None] = None  # as ``PackedModel`` has it

    def __post_init__(self, model: Any, probed: PackedModel | None) -> None:
        self.packed = PackedModel(model, probed=probed)
        self.head_weight: Tensor = self.packed.head.weight
        self.head_bias: Tensor | None = self.packed.head.bias
        allowed = allowed_tokens(self.tokenizer, len(self.head_weight), tokens=self.tokens, script=self.script)
        self._place = Place.behind(self.start, spaced=self.spaced)
        self.opens, self.follows = first_tokens(self.tokenizer, allowed, tokens=self.tokens, place=self._place)
        left = self._place.before
        self._start = [*start_ids(self.tokenizer), *(plain_ids(self.tokenizer, left) if left else [])]
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
        self.logits_computed += len(states)
        return self.packed.head.logits(states)

    def head(self, states: Float[Tensor, "n hidden"]) -> Float[Tensor, "n vocabulary"]:
        """The frozen output head applied to any vectors, float32 on its device, differentiable."""
        self.logits_computed += len(states)
        logits = (states.to(self.head_weight) @ self.head_weight.T).float()
        return logits if self.head_bias is None else logits + self.head_bias.float()

    def text(self, ids: Sequence[int]) -> str:
        """The string that a user would paste, with the space that it begins with unless ``start`` has that."""
        return prompt_text(self.tokenizer, ids, self._place)

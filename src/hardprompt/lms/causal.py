"""A causal language model as task LM: scores continuations of contexts."""

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.lms.answers import Answer, Pooling, answers, check_known, uneven
from hardprompt.lms.packing import PackedModel
from hardprompt.lms.placing import put
from hardprompt.lms.sampling import sample
from hardprompt.lms.tokens import ending, open_ids, plain_ids, start_ids, truncate

TEXTS_SHARE = 15 / 16
"""Of the room for keys and values: a policy's start and long prompts come later and are small."""

_LOGITS = 1024  # rows of the vocabulary at once


class CausalLM:
    """Scores choices as continuations of contexts with any causal model of transformers.

    Args:
        model: the model; it is frozen.
        tokenizer: its tokenizer.
        probed: as ``PackedModel`` has it.

    The space at a word boundary belongs to the choice (``" great"``), whose tokens are those that it adds to the
    context (``ids_behind``); a context is tokenised whole, as a user's paste of it would be.
    """

    blank = ""  # the choice follows the context

    def __init__(self, model: Any, tokenizer: Any, *, probed: PackedModel | None = None) -> None:
        self.packed = PackedModel(model, probed=probed)
        self.model = self.packed.model
        self.device = self.packed.device
        self.tokenizer = tokenizer
        self.context_length: int | None = self.packed.context_length

    @property
    def tokens_run(self) -> int:
        """Tokens that went through the model so far: the work, counted instead of timed."""
        return self.packed.tokens_run

    def over(self, model: Any) -> "CausalLM":
        """The same over the model or a copy of it in another precision, with nothing kept yet."""
        return CausalLM(model, self.tokenizer, probed=self.packed)

    def prepare(self, contexts: Sequence[str]) -> None:
        """Hold the keys and values of these strings, which later contexts will begin with."""
        self.packed.keep(self.encode(contexts), share=TEXTS_SHARE)

    @contextlib.contextmanager
    def preparing(self, contexts: Sequence[str]) -> Iterator[None]:
        """``prepare`` them for as long as the block runs."""
        with self.packed.keeping(self.encode(contexts)):
            yield

    @torch.no_grad()
    def score(
        self, contexts: Sequence[str], choices: Sequence[str], *, after: str = "", how: Pooling = "sum"
    ) -> Float[Tensor, "n choices"]:
        """Log-probability of each choice after each context, ``after`` behind it, up to one constant per context.

        The normaliser of the first token is the same for every choice, so it is left out where it counts the same: a
        softmax over the choices is exact. Later tokens of a choice are normalised over the vocabulary.

        Raises:
            InputError: as ``answers``.
        """
        rows: dict[tuple[Answer, ...], list[int]] = defaultdict(list)  # contexts that choices go on behind alike
        for i, context in enumerate(contexts):
            rows[answers(self.tokenizer, tuple(choices), how=how, after=after, context=ending(context))].append(i)
        encoded, scores = self.encode(contexts), torch.zeros(len(contexts), len(choices))
        for options, own in rows.items():
            check_known(self.tokenizer, options, len(self.packed.head.weight))
            scores[own] = self._scores([encoded[i] for i in own], options).cpu()
        return scores

    def _scores(self, contexts: Sequence[Sequence[int]], options: Sequence[Answer]) -> Float[Tensor, "n choices"]:
        tails = [option.ids[:-1] for option in options if len(option.ids) > 1] or [()]
        states = self.packed.hidden(contexts, tails=tails)
        first = put([option.ids[0] for option in options], self.device)
        scores = self.packed.head.at(states[0], first)
        if uneven(options):
            scores = scores - self.packed.head.normalisers(states[0])[:, None]
        scores = scores * put(torch.tensor([option.weights[0] for option in options]), scores.device)
        later = (
            (column, token, weight)
            for column, option in enumerate(options)
            for token, weight in zip(option.ids[1:], option.weights[1:], strict=True)
        )
        for state, (column, token, weight) in zip(states[1:], later, strict=True):
            scores[:, column] += weight * self.packed.head.log_p(state, token)
        return scores

    @torch.no_grad()
    def perplexity(self, texts: Sequence[str]) -> Float[Tensor, " n"]:
        """Perplexity of each text after nothing but ``start_ids``: exp of the mean negative log-probability of a token.

        A text without a token has none: NaN. Of a text that is longer than the model reads, the beginning counts.
        """
        start = start_ids(self.tokenizer)
        most = None if self.context_length is None else self.context_length - len(start)
        result = torch.full((len(texts),), torch.nan)
        for i, text in enumerate(texts):
            if ids := plain_ids(self.tokenizer, text)[:most]:
                whole = torch.tensor([[*start, *ids]], device=self.device)
                states = self.packed.head.states(input_ids=whole)[0, len(start) - 1 : -1]
                parts = zip(states.split(_LOGITS), whole[0, len(start) :].split(_LOGITS), strict=True)
                losses = [
                    torch.nn.functional.cross_entropy(self.packed.head.logits(some), own, reduction="sum")
                    for some, own in parts
                ]
                result[i] = (torch.stack(losses).sum() / len(ids)).exp().cpu()
        return result

    def generate(
        self,
        contexts: Sequence[str],
        *,
        samples: int = 1,
        seed: int = 0,
        longest: Sequence[int] | int = 64,
        stop: Sequence[str] = ("\n",),
        top_k: int | None = 10,
    ) -> list[list[str]]:
        """Continuations of each context, sampled, each up to the first of ``stop`` (left out) or the text's end.

        A continuation depends on the seed, its context and its number only; what else is asked for can move a logit in
        its last digits and no more.

        Args:
            contexts: what is continued.
            samples: continuations of each.
            seed: of the sampling.
            longest: tokens of a continuation, for all contexts or for each.
            stop: strings that end a continuation.
            top_k: likeliest tokens that are sampled among; 1 is greedy, None is all.

        Raises:
            InputError: a context that leaves no room in what the model can read.
        """
        limits = [longest] * len(contexts) if isinstance(longest, int) else list(longest)
        encoded = self.encode(contexts)
        for ids, limit in zip(encoded, limits, strict=True):
            if self.context_length is not None and len(ids) + limit > self.context_length:
                raise InputError(
                    f"a context of {len(ids)} tokens leaves no room for {limit} more: the task model reads "
                    f"{self.context_length}."
                )
        return sample(
            self.packed, self.tokenizer, encoded, limits=limits, stop=stop, top_k=top_k,
            keys=[[f"{seed}|{number}|{context}" for number in range(samples)] for context in contexts],
        )  # fmt: skip

    def count(self, text: str) -> int:
        """Tokens of ``text``."""
        return len(plain_ids(self.tokenizer, text))

    def truncate(self, text: str, tokens: int) -> str:
        """The first ``tokens`` tokens of ``text`` as a string."""
        return truncate(self.tokenizer, text, tokens)

    def encode(self, contexts: Sequence[str]) -> list[list[int]]:
        """Token ids of each context, as it is read: what opens a text is there, what closes it is not."""
        return open_ids(self.tokenizer, contexts)

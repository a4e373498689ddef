"""Unsupervised text style transfer: a prompt is good when the task model's rewriting keeps the content in the style."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.lms.footprint import Writing
from hardprompt.search.work import grouped
from hardprompt.tasks.template import Template

Content = Callable[[Sequence[str], Sequence[str]], Float[Tensor, " n"]]
_WRITTEN = 4  # what a character that is written costs, beside one that is read
_RESERVE = 64  # tokens kept free for a prompt
_SHORTEST = 10  # tokens that an output may have beyond its source's, or half as many as the source has


@runtime_checkable
class Generator(Protocol):
    """A task model that writes."""

    def generate(
        self, contexts: Sequence[str], *, samples: int, seed: int, longest: Sequence[int], stop: Sequence[str]
    ) -> list[list[str]]:
        """So many continuations of each context."""

    def count(self, text: str) -> int:
        """Tokens of ``text``."""


@runtime_checkable
class Style(Protocol):
    """Says how much a text is in the target style."""

    def target(self, texts: Sequence[str]) -> Float[Tensor, " n"]:
        """Probability of the target style, in [0, 1]."""


@dataclass(frozen=True)
class Output:
    """The best of several rewritings of one text, with its scores, each in [0, 1]."""

    text: str
    content: float
    style: float

    @property
    def reward(self) -> float:
        """Mean of content and style, in [0, 100]; nothing written is worth nothing."""
        return 50.0 * (self.content + self.style) if self.text else 0.0


@dataclass(kw_only=True, eq=False)
class Restyle:
    """The paper's reward of a prompt on one set of texts: content preservation plus target style, best of the samples.

    Raises:
        InputError: no text, an empty one, or a template with something after the answer.

    Source: PIN App. C.2; RLPrompt section 3.2 (content and style from 0 to 100, their mean, the best of the samples).
    """

    lm: Generator  # the task model
    texts: Sequence[str]  # to be rewritten
    template: Template  # where text and prompt stand; the rewriting follows its end
    content: Content  # how much of each source its output keeps, in [0, 1]
    style: Style  # of the target
    samples: int = 4  # rewritings of each text, of which the best counts
    stop: str = '"'  # what ends a rewriting, beside the end of the line
    seed: int = 0  # of the sampling

    def __post_init__(self) -> None:
        if not self.texts or not all(text.strip() for text in self.texts):
            raise InputError("there is no text to rewrite." if not self.texts else "a text to rewrite is empty.")
        source = self.template.source
        if "{mask}" in source:
            raise InputError(f"template {source!r} has {{mask}}; a rewriting follows the template's end.")
        self.items = len(self.texts)
        self._stop = tuple(dict.fromkeys([self.stop, "\n"])) if self.stop else ("\n",)
        self._longest = [max(3 * n // 2, n + _SHORTEST) for n in map(self.lm.count, self.texts)]

    def writing(self, prompts: int) -> Writing:
        """What the task model writes for so many prompts, each taken as no longer than nothing."""
        lengths = [self.lm.count(self.template.fill(text, "")[0]) for text in self.texts]
        return Writing(lengths * prompts, self._longest * prompts, self.samples)

    def check_room(self, context_length: int | None, prompts: Sequence[str]) -> None:
        """Raise an InputError for a text that leaves these prompts, or one of 64 tokens, no room in the task model."""
        if context_length is None:
            return
        most = max(_RESERVE, *(self.lm.count(prompt) for prompt in prompts))
        for text, longest in zip(self.texts, self._longest, strict=True):
            needed = self.lm.count(self.template.fill(text, "")[0]) + most + longest
            if needed > context_length:
                raise InputError(
                    f"the text {text[:60]!r} has {self.lm.count(text)} tokens; with the template, a prompt and its "
                    f"rewriting it needs {needed}, and the task model reads {context_length}: cut texts earlier with a "
                    "smaller --max-text-tokens."
                )

    def __call__(self, prompts: list[str]) -> Float[Tensor, " n"]:
        """Mean reward of each prompt over the texts, in [0, 100], float64."""
        return self.aggregate(self.score(prompts))

    def score(self, prompts: Sequence[str], items: Sequence[int] | None = None) -> Float[Tensor, "n texts"]:
        """Reward of each prompt on each text, or on those numbered."""
        found = self.outputs(prompts, items)
        return torch.tensor([[output.reward for output in row] for row in found], dtype=torch.float64)

    def groups(self, prompts: Sequence[str], items: Sequence[int]) -> list[list[int]]:
        """The texts in groups of so many characters that are written."""
        times = _WRITTEN * self.samples * len(prompts)
        return grouped([len(self.texts[i]) * times for i in items], items)

    def aggregate(self, scores: Float[Tensor, "n texts"], _: Sequence[int] | None = None) -> Float[Tensor, " n"]:
        """The mean over the texts."""
        return scores.mean(-1)

    def outputs(self, prompts: Sequence[str], at: Sequence[int] | None = None) -> list[list[Output]]:
        """The best rewriting of each text with each prompt."""
        chosen = range(self.items) if at is None else at
        pairs = [(prompt, i) for prompt in prompts for i in chosen]
        written = self.lm.generate(
            [self.template.fill(self.texts[i], prompt)[0] for prompt, i in pairs],
            samples=self.samples, seed=self.seed, longest=[self._longest[i] for _, i in pairs], stop=self._stop,
        )  # fmt: skip
        flat = [(self.texts[i], text.strip()) for (_, i), texts in zip(pairs, written, strict=True) for text in texts]
        scored = iter(score(flat, self.content, self.style))
        best = [max((next(scored) for _ in texts), key=lambda output: output.reward) for texts in written]
        width = len(chosen)
        return [best[k * width : (k + 1) * width] for k in range(len(prompts))]


def score(pairs: Sequence[tuple[str, str]], content: Content, style: Style) -> list[Output]:
    """Each (source, output) pair with its content and style; equal pairs are scored once."""
    new = list(dict.fromkeys(pairs))
    if not new:
        return []
    kept = content([source for source, _ in new], [text for _, text in new]).tolist()
    wanted = style.target([text for _, text in new]).tolist()
    known = {pair: Output(pair[1], c, s) for pair, c, s in zip(new, kept, wanted, strict=True)}
    return [known[pair] for pair in pairs]

"""How fluent a text is: acceptable to a classifier, or as likely as real sentences are under a causal LM."""

import math
import statistics
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.tasks.restyle.styles import StyleModel, named_style

_HUMAN = 200  # real texts whose median is taken: each takes a pass through the LM


@runtime_checkable
class Judge(Protocol):
    """A language model that says how likely texts are."""

    def perplexity(self, texts: Sequence[str]) -> Float[Tensor, " n"]:
        """Perplexity of each text; NaN for one that has none."""
        ...


@runtime_checkable
class Fluency(Protocol):
    """Scores how fluent texts are."""

    name: str
    """The model that says so."""

    how: str
    """What a score is, in one sentence, to stand beside every figure."""

    def score(self, texts: Sequence[str]) -> Float[Tensor, " n"]:
        """Fluency of each text, in [0, 1], float32 on the CPU; 0 for a blank text."""
        ...


class Acceptability:
    """Probability that a text is grammatically acceptable, by a classifier.

    Args:
        judge: gives the probability of the acceptable label.
    """

    def __init__(self, judge: StyleModel) -> None:
        self.name = judge.name
        self.how = f"Probability that the sentence is grammatically acceptable, by {judge.name}."
        self._judge = judge

    def score(self, texts: Sequence[str]) -> Float[Tensor, " n"]:
        """The classifier's probability for each text, in [0, 1]; 0 for a blank text or where it has none."""
        return self._judge.target(texts).nan_to_num(nan=0.0)


def acceptability(name: str, label: str) -> Acceptability:
    """The classifier of that folder or hub name, and the label that means acceptable.

    Raises:
        InputError: as ``named_style``.
    """
    return Acceptability(named_style(name, label))


class RelativePerplexity:
    """F(y) = min(1, m / PPL(y)), m the median perplexity of real sentences: 1 is as fluent as those or more so.

    Args:
        lm: gives the perplexities; best one that wrote none of the texts.
        human: real sentences; at most 200 of them are read, evenly spaced.
        name: what the user calls the LM.

    Raises:
        InputError: no real sentence has a perplexity.
    """

    def __init__(self, lm: Judge, human: Sequence[str], *, name: str) -> None:
        self._lm = lm
        step = max(1, math.ceil(len(human) / _HUMAN))
        values = [v for v in lm.perplexity(human[::step]).tolist() if math.isfinite(v)]
        if not values:
            raise InputError(f"none of {len(human)} real sentences has a perplexity under {name}; give sentences.")
        self.median = statistics.median(values)
        self.name = name
        self.how = (
            f"min(1, m / perplexity) under {name}, m = {self.median:.4g} the median of {len(values)} real sentences; "
            "a stand-in for a classifier of grammatical acceptability."
        )

    def score(self, texts: Sequence[str]) -> Float[Tensor, " n"]:
        """The score of each text, in [0, 1]; 0 for a blank text or one without a perplexity."""
        values = self._lm.perplexity(texts).tolist()
        ratios = [
            0.0 if math.isnan(v) or not text.strip() else min(1.0, self.median / v)
            for text, v in zip(texts, values, strict=True)
        ]
        return torch.tensor(ratios, dtype=torch.float32)

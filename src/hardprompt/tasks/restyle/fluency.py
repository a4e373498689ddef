"""How fluent a text is: acceptable to a classifier, or as likely as real sentences are under a causal LM."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.tasks.protocol import Perplexity
from hardprompt.tasks.restyle.styles import StyleModel

_HUMAN = 200  # real texts whose median is taken: each takes a pass through the LM


@dataclass(frozen=True)
class Fluency:
    """Scores how fluent texts are."""

    name: str  # the model that says so
    how: str  # what a score is, in one sentence, to stand beside every figure
    score: Callable[[Sequence[str]], Float[Tensor, " n"]]
    """Fluency of each text, in [0, 1], float32 on the CPU; 0 for a blank text."""


def acceptability(judge: StyleModel) -> Fluency:
    """Probability that a text is grammatically acceptable, by a classifier of that label; 0 where it has none."""
    how = f"Probability that the sentence is grammatically acceptable, by {judge.name}."
    return Fluency(judge.name, how, lambda texts: judge.target(texts).nan_to_num(nan=0.0))


def relative_perplexity(perplexity: Perplexity, human: Sequence[str], *, name: str) -> Fluency:
    """F(y) = min(1, m / PPL(y)), m the median perplexity of real sentences: 1 is as fluent as those or more so.

    Args:
        perplexity: of a causal LM, best one that wrote none of the texts; a text without one scores 0.
        human: real sentences; at most 200 of them are read, evenly spaced.
        name: what the user calls the LM.

    Raises:
        InputError: no real sentence has a perplexity.
    """
    step = max(1, math.ceil(len(human) / _HUMAN))
    real = [v for v in perplexity(human[::step]).tolist() if math.isfinite(v)]
    if not real:
        raise InputError(f"none of {len(human)} real sentences has a perplexity under {name}; give sentences.")
    median = statistics.median(real)

    def score(texts: Sequence[str]) -> Float[Tensor, " n"]:
        pairs = zip(texts, perplexity(texts).tolist(), strict=True)
        ratios = [0.0 if math.isnan(v) or not text.strip() else min(1.0, median / v) for text, v in pairs]
        return torch.tensor(ratios, dtype=torch.float32)

    how = (
        f"min(1, m / perplexity) under {name}, m = {median:.4g} the median of {len(real)} real sentences; "
        "a stand-in for a classifier of grammatical acceptability."
    )
    return Fluency(name, how, score)

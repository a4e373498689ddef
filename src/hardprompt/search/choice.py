"""Which of several validated prompts a search stands by."""

import math
from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor

from hardprompt.search.engine import Trial

_HAIR = 1e-5  # more than what parts equal accuracies in a score, less than one text of ten thousand


def choose(
    trials: Sequence[Trial],
    texts: int,
    perplexity: Callable[[Sequence[str]], Float[Tensor, " n"]],
    *,
    errors: float = 1.0,
) -> Trial:
    """The most natural of the prompts that validation cannot tell from the best.

    These are the trials whose accuracy is within one standard error, sqrt(p (1 - p) / n), of the highest; among them
    the one of lowest perplexity is chosen, the earliest among equals.

    Args:
        trials: validated prompts, at least one; a score is an accuracy (what is beyond its fourth digit parts equals).
        texts: n, how many texts validated them.
        perplexity: of texts, under a model; NaN counts as the highest.
        errors: standard errors that count as the same.

    Source: the one-standard-error rule of Breiman et al., 1984, with perplexity in place of the size of a tree.
    """
    p = min(max(max(trial.score for trial in trials), 0.0), 1.0)
    return most_natural(trials, errors * math.sqrt(p * (1.0 - p) / texts) + _HAIR, perplexity)


def most_natural(
    trials: Sequence[Trial], slack: float, perplexity: Callable[[Sequence[str]], Float[Tensor, " n"]]
) -> Trial:
    """The trial of lowest perplexity among those whose score is within ``slack`` of the highest."""
    top = max(trial.score for trial in trials)
    near = [trial for trial in trials if trial.score >= top - slack]
    values = perplexity([trial.prompt.strip() for trial in near]).nan_to_num(math.inf).tolist()
    return near[values.index(min(values))]

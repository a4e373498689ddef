"""What a prompt is worth by all that is known of it, on texts that a search learned from and on others."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

_TINY = 1e-9  # of a variance, beside the others


@dataclass(frozen=True)
class Worth:
    """What each of several prompts is expected to be worth on other texts of the kind, in the unit of its scores."""

    expected: Float[Tensor, " prompts"]  # posterior mean
    covariance: Float[Tensor, "prompts prompts"]  # of the posterior
    optimism: Float[Tensor, " prompts"]  # by how much the mean over the training texts lies above what is expected

    def behind(self) -> Float[Tensor, "prompts 2"]:
        """How far each lies behind the best, and the standard deviation of that."""
        best = int(self.expected.argmax())
        own = self.covariance.diagonal()
        variance = own + own[best] - 2.0 * self.covariance[best]
        return torch.stack([self.expected[best] - self.expected, variance.clamp_min(0.0).sqrt()], -1)


def worth(
    train: Float[Tensor, "prompts n"],
    validation: Float[Tensor, "prompts m"],
    history: Float[Tensor, "scored n"],
    *,
    written: int = 0,
) -> Worth:
    """What prompts that a search recommends are worth, by their scores on its training and on its validation texts.

    The search looked at the training texts and recommends what did well on them, so that their mean is too high. Of
    the score of prompt p on text i it is taken that

        score = w_p + g_i + e_pi,    w_p ~ Normal(mu, s^2),    g_i ~ Normal(0, d^2),    e_pi ~ Normal(0, c^2),

    with all four numbers from the history. Given its scores, how a prompt came to be recommended says nothing more of
    its worth w_p, since nothing but the scores chose it: the posterior needs no correction for the choice, and training
    and validation texts count alike in it. What it takes from the mean over the training texts is the optimism. A
    prompt that a person wrote is none of those that the history tells of: of its worth nothing is known beforehand.

    Args:
        train: scores of the recommended prompts on each training text, higher is better; then of the written ones.
        validation: their scores on each text that the search did not learn from; there may be none.
        history: scores on all training texts of all prompts that the search scored, each prompt once.
        written: how many, the last ones, no search proposed.

    Source: empirical Bayes after selection (Efron, 2011, Tweedie's Formula and Selection Bias).
    """
    (prompts, n), m, scored = train.shape, validation.shape[1], len(history)
    train, validation, history = train.double(), validation.double(), history.double()
    rows, texts, mu = history.mean(1), history.mean(0), float(history.mean())
    inside = (history - rows[:, None] - texts + mu).square().sum() / max(1, (scored - 1) * (n - 1))
    whole = float(history.var(correction=0)) or 1.0
    c2 = max(float(inside), _TINY * whole)
    s2 = max((float(rows.var()) if scored > 1 else 0.0) - c2 / n, _TINY * whole)
    d2 = max((float(texts.var()) if n > 1 else 0.0) - c2 / scored, _TINY * whole)
    # Unknown are the worth of each prompt on texts like the training texts, and by how much the others differ for all.
    known = torch.where(torch.arange(prompts) < prompts - written, 1.0 / s2, 0.0).double()
    precision = torch.zeros(prompts + 1, prompts + 1, dtype=torch.float64)
    precision.diagonal()[:prompts] = known + (n + m) / c2
    precision[:prompts, -1] = precision[-1, :prompts] = m / c2
    precision[-1, -1] = (1.0 / (d2 / n + d2 / m) if m else 1.0 / d2) + prompts * m / c2
    seen = validation.mean(1) * m if m else torch.zeros(prompts, dtype=torch.float64)
    right = torch.cat([mu * known + (train.mean(1) * n + seen) / c2, seen.sum()[None] / c2])
    # Of the difference between both kinds of texts, the training texts' part is m of n + m.
    level = torch.cat([torch.eye(prompts), torch.full((prompts, 1), m / (n + m))], 1).double()
    covariance = level @ torch.linalg.inv(precision) @ level.T
    expected = level @ torch.linalg.solve(precision, right)
    covariance = covariance + d2 / (n + m)  # how all texts there are differ from those to come
    return Worth(expected, covariance, train.mean(1) - expected)

"""Answers without the model's own leaning: what a class gains on all texts alike is taken from it on each."""

from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hardprompt.tasks.classify.prior import Calibration

_STEPS = 50  # of Newton; a fit takes about six
_SMALL = 1e-10  # of a slope


@dataclass(frozen=True)
class Leaning:
    """What turns the log-probabilities of each prompt's answers into calibrated ones.

    Of x it makes scale * log softmax(x - offset) + shift, renormalised; ``batch`` has a scale of 1 and no shift.
    """

    offset: Float[Tensor, "prompts classes"]
    scale: Float[Tensor, "prompts classes"]
    shift: Float[Tensor, "prompts classes"]

    def taken_from(self, logs: Float[Tensor, "prompts n classes"]) -> Float[Tensor, "prompts n classes"]:
        """Calibrated log-probabilities, in nats, from those of the model, which may lack a constant of each text."""
        plain = (logs - self.offset[:, None]).log_softmax(-1)
        return (self.scale[:, None] * plain + self.shift[:, None]).log_softmax(-1)

    @classmethod
    def only(cls, offset: Float[Tensor, "prompts classes"]) -> Self:
        """An offset and nothing else; of nought it is the model at its word."""
        return cls(offset, torch.ones_like(offset), torch.zeros_like(offset))


def without(leaning: Leaning | None, logs: Float[Tensor, "prompts n classes"]) -> Float[Tensor, "prompts n classes"]:
    """Probabilities of the answers, calibrated unless ``leaning`` is None."""
    return logs.softmax(-1) if leaning is None else leaning.taken_from(logs).exp()


def leaning(
    how: Calibration,
    logs: Float[Tensor, "prompts n classes"],
    labels: Int[Tensor, " n"],
    prior: Float[Tensor, " classes"] | None = None,
) -> Leaning | None:
    """What to take from the answers of each prompt, by these texts; None is nothing. No prior: all classes alike."""
    if how == "none":
        return None
    prior = logs.new_full(logs.shape[-1:], 1.0 / logs.shape[-1]) if prior is None else prior
    return batch(logs, prior) if how == "batch" else affine(logs, labels, prior)


def batch(logs: Float[Tensor, "prompts n classes"], prior: Float[Tensor, " classes"]) -> Leaning:
    """Take from each class its mean log-probability over the texts, and give it that of its prior.

    Looks at no label. With one text, all that is left is the prior.

    Args:
        logs: log-probabilities of the answers, in nats; each text may lack a constant.
        prior: how often each class is expected, above 0.

    Source: batch calibration (Zhou et al., 2023, eq. 4), in the log-probabilities of contextual calibration
    (Zhao et al., 2021).
    """
    mean = logs.log_softmax(-1).mean(1)
    return Leaning.only(mean - prior.to(mean).log())


def affine(
    logs: Float[Tensor, "prompts n classes"],
    labels: Int[Tensor, " n"],
    prior: Float[Tensor, " classes"],
    strength: float = 1.0,
) -> Leaning:
    """A scale and an offset for each class, by the labels: the maximum of the penalised likelihood.

    Minimises, over scales a and shifts d, with x the log-probabilities calibrated by ``batch``,

        mean_i -log softmax(a * x_i + d)[label_i] + strength / (2 n) (|a - 1|^2 + |d|^2),

    so that few texts, or texts that are parted without error, leave it near ``batch``. Convex; by Newton's method.
    Differentiable: the last step, from the minimum to itself, has its derivative (implicit function theorem).

    Args:
        logs: as ``batch``.
        labels: class of each text.
        prior: as ``batch``.
        strength: of the penalty; as much as so many texts, roughly.
    """
    start = batch(logs, prior)
    x = start.taken_from(logs)
    classes, weight = x.shape[-1], strength / x.shape[1]
    right = torch.nn.functional.one_hot(labels, classes).to(x)
    theta = x.new_zeros(len(x), 2 * classes)  # scales less one, then shifts: both are drawn to nought
    with torch.no_grad():
        for _ in range(_STEPS):
            slope, bend = _slope(x, right, theta, weight), _bend(x, theta, weight)
            if bool((slope.abs() < _SMALL).all()):
                break
            step, size = torch.linalg.solve(bend, slope), x.new_ones(len(x), 1)
            now = _loss(x, right, theta, weight)
            while bool((worse := (_loss(x, right, theta - size * step, weight) > now) & (size[:, 0] > _SMALL)).any()):
                size = torch.where(worse[:, None], size / 2, size)
            theta = theta - size * step
    theta = theta - torch.linalg.solve(_bend(x.detach(), theta, weight), _slope(x, right, theta, weight))
    return Leaning(start.offset, 1.0 + theta[:, :classes], theta[:, classes:])


def _scores(x: Tensor, theta: Tensor) -> Tensor:
    scale, shift = theta[:, None].chunk(2, -1)
    return (1.0 + scale) * x + shift


def _loss(x: Tensor, right: Tensor, theta: Tensor, weight: float) -> Float[Tensor, " prompts"]:
    found = _scores(x, theta).log_softmax(-1)
    return -(found * right).sum(-1).mean(-1) + weight / 2 * theta.square().sum(-1)


def _slope(x: Tensor, right: Tensor, theta: Tensor, weight: float) -> Float[Tensor, "prompts parameters"]:
    """Of ``_loss`` in theta."""
    wrong = _scores(x, theta).softmax(-1) - right
    return torch.cat([(wrong * x).mean(1), wrong.mean(1)], -1) + weight * theta


def _bend(x: Tensor, theta: Tensor, weight: float) -> Float[Tensor, "prompts parameters parameters"]:
    """Second derivatives of ``_loss`` in theta."""
    p = _scores(x, theta).softmax(-1)
    both = torch.cat([x * p, p], -1)
    square, cross, plain = (torch.diag_embed(part.mean(1)) for part in (x * x * p, x * p, p))
    own = torch.cat([torch.cat([square, cross], -1), torch.cat([cross, plain], -1)], -2)
    found: Tensor = own - both.mT @ both / x.shape[1] + weight * torch.eye(theta.shape[-1]).to(x)
    return found

"""Answers without the model's own leaning: what a class gains on all texts alike is taken from it on each."""

from dataclasses import dataclass
from typing import Literal, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

Calibration = Literal["none", "batch", "affine"]
"""``none`` takes the model at its word, as the papers do."""

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
    *,
    strength: float = 1.0,
) -> Leaning:
    """A scale and an offset for each class, by the labels: the maximum of the penalised likelihood.

    Minimises, over scales a and shifts d, with x the log-probabilities calibrated by ``batch``,

        mean_i -log softmax(a * x_i + d)[label_i] + strength / (2 n) (|a - 1|^2 + |d|^2),

    so that few texts, or texts that are parted without error, leave it near ``batch``. Convex; by Newton's method.

    Args:
        logs: as ``batch``.
        labels: class of each text.
        prior: as ``batch``.
        strength: of the penalty; as much as so many texts, roughly.
    """
    start = batch(logs, prior)
    x = start.taken_from(logs)
    prompts, n, classes = x.shape
    right = torch.nn.functional.one_hot(labels, classes).to(x)
    # z = design @ theta, where theta holds scales less one, then shifts: both are drawn to nought.
    design = torch.cat([torch.diag_embed(x), torch.eye(classes).to(x).expand(prompts, n, -1, -1)], -1)
    theta = x.new_zeros(prompts, 2 * classes)
    weight = strength / n

    def loss(theta: Tensor) -> Tensor:
        z = x + (design @ theta[:, None, :, None])[..., 0]
        return -(z.log_softmax(-1) * right).sum(-1).mean(-1) + weight / 2 * theta.square().sum(-1)

    for _ in range(_STEPS):
        p = (x + (design @ theta[:, None, :, None])[..., 0]).softmax(-1)
        slope = (design.mT @ (p - right)[..., None])[..., 0].mean(1) + weight * theta
        if bool((slope.abs() < _SMALL).all()):
            break
        curve = torch.diag_embed(p) - p[..., None] * p[..., None, :]
        bend = (design.mT @ curve @ design).mean(1) + weight * torch.eye(2 * classes).to(x)
        step = torch.linalg.solve(bend, slope)
        now, size = loss(theta), x.new_ones(prompts, 1)
        for _ in range(_STEPS):  # halved for those that it would worsen
            worse = loss(theta - size * step) > now
            if not bool(worse.any()):
                break
            size = torch.where(worse[:, None], size / 2, size)
        theta = theta - torch.where(worse[:, None], 0.0, size) * step
    return Leaning(start.offset, 1.0 + theta[:, :classes], theta[:, classes:])

r"""The three losses of the Q-learner, in units of alpha, as pure functions of what the two networks say.

Notation, all divided by alpha: q_t = Q_theta(z_{<t}, z_t), v_t = V of theta at z_{<t}, v'_t = V of the target network,
r the reward; t runs from 0 to L-1. The policy's logits are l = Q + beta log p_LM, and V(l) = max_p <p, l> + S_q(p): the
prior beta log p_LM enters the policy and V, never Q itself.

Fixed point with the prior: Q(z_{<t}, z_t) = gamma V(z_{<=t}), and Q = r at the last step. With gamma = 1, whatever q
and beta, the advantage A_t = q_t - v_t then obeys

    single step   A_t = v_{t+1} - v_t   (the last: r - v_{L-1})
    multi-step    A_t + ... + A_{L-1} = r - v_t

At q = 1, A_t = log pi(z_t) - beta log p_LM(z_t), so the fixed point is the solution of KL-regularised control,
pi(z) proportional to p_LM(z)^beta exp(r(z)) over whole prompts.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.errors import InputError


class Values(NamedTuple):
    """What a loss may use; a field that it does not need is never computed."""

    q: Float[Tensor, "n length"]  # online Q of the chosen tokens, with gradient
    rewards: Float[Tensor, " n"]  # r / alpha
    v: Float[Tensor, "n length"] | None = None  # online V at each prefix, with gradient
    target_v: Float[Tensor, "n length"] | None = None  # target network's V at each prefix


def monte_carlo(values: Values, *, gamma: float) -> Float[Tensor, ""]:
    """Regress every q_t on the discounted outcome gamma^(L-1-t) r.

    Source: the loss that PIN's released commands run (their ``loss_impl=v1``).
    """
    length = values.q.shape[1]
    discount = gamma ** torch.arange(length - 1, -1, -1, dtype=values.q.dtype, device=values.q.device)
    return (values.q - discount * values.rewards[:, None]).pow(2).mean()


def single_step(values: Values, *, gamma: float) -> Float[Tensor, ""]:
    """Regress q_t on gamma v'_{t+1}, and the last on r (Source: PIN eq. 5 and Algorithm 1)."""
    target = torch.cat([gamma * _need(values.target_v)[:, 1:], values.rewards[:, None]], dim=1)
    return (values.q - target).pow(2).mean()


def path_consistency(values: Values, *, gamma: float) -> Float[Tensor, ""]:
    """The mean of the single-step and the multi-step consistency errors of A = Q - V.

    Raises:
        InputError: gamma is not 1, for which alone the consistency is exact (RLPrompt uses 1).

    Source: RLPrompt (Deng et al., 2022), after Guo et al., 2021; ``v2_v3`` in PIN's code.
    """
    if gamma != 1.0:
        raise InputError(f"gamma is {gamma}; path_consistency is exact for gamma = 1 only.")
    target_v = _need(values.target_v)
    advantage = values.q - _need(values.v)
    ahead = torch.cat([target_v[:, 1:], values.rewards[:, None]], dim=1)
    one_step = (advantage - (ahead - target_v)).pow(2).mean()
    to_the_end = advantage.flip(1).cumsum(1).flip(1)
    many_steps = (to_the_end - (values.rewards[:, None] - target_v)).pow(2).mean()
    return (one_step + many_steps) / 2.0


def _need(values: Tensor | None) -> Tensor:
    if values is None:
        raise ValueError("this loss needs state values that were not computed.")
    return values


class Loss(NamedTuple):
    """A loss, and what has to be computed for it."""

    of: Callable[..., Float[Tensor, ""]]
    target_v: bool = False
    v: bool = False
    discounts: bool = True  # else it is exact for gamma = 1 only


LossName = Literal["monte_carlo", "single_step", "path_consistency"]
LOSSES: dict[str, Loss] = {
    "monte_carlo": Loss(monte_carlo),
    "single_step": Loss(single_step, target_v=True),
    "path_consistency": Loss(path_consistency, target_v=True, v=True, discounts=False),
}

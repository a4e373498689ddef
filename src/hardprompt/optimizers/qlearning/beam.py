"""Draws different prompts from a policy, exactly and without replacement: stochastic beam search."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hardprompt.optimizers.drawing import Ids

Policies = Callable[[list[Ids]], list[tuple[Int[Tensor, " k"], Float[Tensor, " k"]]]]
"""Of each prefix the tokens that may follow it and their probabilities; both lie on the CPU."""


def stochastic_beam(policies: Policies, length: int, width: int, generator: torch.Generator) -> list[Ids]:
    """Up to ``width`` different prompts, in the order in which drawing one by one without replacement gives them.

    Each prompt's log-probability is perturbed by a Gumbel variable of its own and the largest are kept, as if all
    prompts had been looked at: a prefix carries the largest value of what continues it. Leaving out prompts of the
    result leaves a draw without replacement from those that are not to be left out. There are fewer where the policy
    has no more; a prefix that nothing may follow is given up.

    Args:
        policies: asked once for each of ``length`` places, for all prefixes together.
        length: tokens of a prompt.
        width: prompts kept at each place.
        generator: of the Gumbel variables.

    Source: Kool, van Hoof and Welling, 2019, "Stochastic Beams and Where to Find Them", Algorithm 1 and Appendix B.3.
    """
    prefixes: list[Ids] = [()]
    logs, values = torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for _ in range(length):
        found = policies(prefixes)
        parents = [torch.full((len(ids),), i) for i, (ids, _) in enumerate(found)]
        tokens = [ids.long() for ids, _ in found]
        below = [logs[i] + chances.double().log() for i, (_, chances) in enumerate(found)]
        perturbed = [_given_largest(own, values[i], generator) for i, own in enumerate(below)]
        parent, token, log, value = (torch.cat(parts) for parts in (parents, tokens, below, perturbed))
        best = value.topk(min(width, int((log > -torch.inf).sum()))).indices
        prefixes = [(*prefixes[int(p)], int(t)) for p, t in zip(parent[best], token[best], strict=True)]
        logs, values = log[best], value[best]
    return prefixes


def _given_largest(
    logs: Float[Tensor, " k"], largest: Float[Tensor, ""], generator: torch.Generator
) -> Float[Tensor, " k"]:
    """Gumbel variables at ``logs``, given that the largest of them is ``largest``."""
    if len(logs) == 0:
        return logs
    uniform = torch.rand(len(logs), generator=generator, dtype=torch.float64).clamp_min(torch.finfo(torch.float64).tiny)
    free = logs - (-uniform.log()).log()
    gap = largest - free + torch.log1p(-(free - free.max()).exp())
    value: Tensor = largest - gap.clamp_min(0.0) - torch.log1p((-gap.abs()).exp())
    return torch.where(free == free.max(), largest, value)

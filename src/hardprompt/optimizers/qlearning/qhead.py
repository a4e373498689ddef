"""The Q-head, trained: turns the frozen policy LM's states into action values."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class QHead(nn.Module):
    """psi_theta: a two-layer MLP in the LM's own state space; Q/alpha of token z is w_z . psi(e).

    Args:
        size: width of the LM's hidden state.
        hidden: width of the hidden layer; 2048 in the paper.
        generator: source of the initial weights.

    Source: PIN eq. 3 and App. A; the near-zero initialisation is RLPrompt's (xavier gain 1e-4, bias -1e-4).
    """

    def __init__(self, size: int, *, hidden: int = 2048, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.inner = nn.Linear(size, hidden)
        self.outer = nn.Linear(hidden, size)
        for layer in (self.inner, self.outer):
            nn.init.xavier_uniform_(layer.weight, gain=1e-4, generator=generator)
            nn.init.constant_(layer.bias, -1e-4)

    def forward(self, states: Float[Tensor, "*b hidden"]) -> Float[Tensor, "*b hidden"]:
        """Adapted states, to be multiplied with rows of the LM's head."""
        out: Tensor = self.outer(torch.relu(self.inner(states)))
        return out

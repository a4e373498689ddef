"""PEZ: vectors follow the gradient that is taken at the tokens nearest to them."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from hardprompt.lms.vocabulary import survives
from hardprompt.optimizers.adam import adam_state, load_adam
from hardprompt.optimizers.checks import MANY, TINY, check
from hardprompt.optimizers.gradient.objective import Objective, allowed, check_objective, draw, gradient
from hardprompt.optimizers.record import Record
from hardprompt.search.engine import EVERYTHING, Proposal


class PEZ:
    """Gradient descent on vectors, each gradient taken at their projection onto tokens.

    Args:
        objective: a loss with gradients.
        length: tokens of a prompt.
        seed: of the first tokens.
        passes: gradients between two proposals; the visited prompt of lowest loss is proposed.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        recommended: how many of the best prompts ``recommend`` returns.

    Raises:
        InputError: a task without gradients, or a setting out of range.

    Source: Wen et al. 2023, Algorithm 1; learning rate and decay of its section 4.1.
    """

    def __init__(
        self,
        *,
        objective: Objective,
        length: int = 5,
        seed: int = 0,
        passes: int = 7,
        learning_rate: float = 0.1,
        weight_decay: float = 0.1,
        recommended: int = 9,
    ) -> None:
        check_objective(objective, "PEZ")
        check(
            length=(length, 1, 32), passes=(passes, 1, MANY), learning_rate=(learning_rate, TINY, MANY),
            weight_decay=(weight_decay, 0, MANY),
        )  # fmt: skip
        self._objective, self._passes = objective, passes
        self._record = Record(seed=seed, recommended=recommended)
        self._unit = normalize(objective.table, dim=-1)
        ids = draw(objective, length, self._record.generator)
        self.vectors = torch.nn.Parameter(objective.table[ids].clone())
        self._adam = torch.optim.AdamW([self.vectors], lr=learning_rate, weight_decay=weight_decay)

    def ask(self, room: int = EVERYTHING) -> Proposal:
        """The best by loss of the prompts that the vectors passed; one that survives re-tokenisation if there is."""
        passes = min(self._passes, room - 1)
        if passes < 1:
            return Proposal([])
        visited: dict[str, tuple[bool, float]] = {}
        for _ in range(passes):
            ids = self.nearest()
            loss, slope = gradient(self._objective, self._objective.table[ids][None])
            prompt = self._objective.text(ids.tolist())
            visited[prompt] = (not survives(self._objective.tokenizer, ids.tolist()), float(loss))
            self.vectors.grad = slope[0].to(self.vectors)
            self._adam.step()
        return Proposal([min(visited, key=lambda prompt: visited[prompt])], passes=passes)

    @torch.no_grad()
    def nearest(self) -> Int[Tensor, " length"]:
        """The token of the highest cosine in each place, of those that may stand there."""
        cosine = normalize(self.vectors, dim=-1) @ self._unit.T
        return cosine.masked_fill(~allowed(self._objective, len(cosine)), -torch.inf).argmax(-1)

    def tell(self, proposal: Proposal, rewards: Float[Tensor, " n"]) -> dict[str, float]:
        """Remember the reward."""
        self._record.add(proposal, rewards)
        return {}

    def recommend(self) -> list[str]:
        """The best prompts seen by training reward."""
        return self._record.best()

    def state_dict(self) -> dict[str, Any]:
        """The vectors, AdamW's state and what was seen."""
        return {
            "vectors": self.vectors.detach().clone(),
            "adam": adam_state(self._adam),
            **self._record.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.vectors.data.copy_(state["vectors"])
        load_adam(self._adam, state["adam"])
        self._record.load_state_dict(state)

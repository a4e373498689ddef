"""PEZ: vectors follow the gradient that is taken at the tokens nearest to them."""

from dataclasses import dataclass
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


@dataclass(kw_only=True, eq=False)
class PEZ:
    """Gradient descent on vectors, each gradient taken at their projection onto tokens.

    Raises:
        InputError: a task without gradients, or a setting out of range.

    Source: Wen et al. 2023, Algorithm 1; learning rate and decay of its section 4.1.
    """

    objective: Objective  # a loss with gradients
    length: int = 5  # tokens of a prompt
    seed: int = 0  # of the first tokens
    passes: int = 7  # gradients between two proposals; the visited prompt of lowest loss is proposed
    learning_rate: float = 0.1  # of AdamW
    weight_decay: float = 0.1  # of AdamW
    recommended: int = 9  # how many of the best prompts ``recommend`` returns

    def __post_init__(self) -> None:
        check_objective(self.objective, "PEZ")
        check(
            length=(self.length, 1, 32), passes=(self.passes, 1, MANY), learning_rate=(self.learning_rate, TINY, MANY),
            weight_decay=(self.weight_decay, 0, MANY),
        )  # fmt: skip
        self._record = Record(seed=self.seed, recommended=self.recommended)
        self._unit = normalize(self.objective.table, dim=-1)
        ids = draw(self.objective, self.length, self._record.generator)
        self.vectors = torch.nn.Parameter(self.objective.table[ids].clone())
        self._adam = torch.optim.AdamW([self.vectors], lr=self.learning_rate, weight_decay=self.weight_decay)

    def ask(self, room: int = EVERYTHING) -> Proposal:
        """The best by loss of the prompts that the vectors passed; one that survives re-tokenisation if there is."""
        passes = min(self.passes, room - 1)
        if passes < 1:
            return Proposal([])
        visited: dict[str, tuple[bool, float]] = {}
        for _ in range(passes):
            ids = self.nearest()
            loss, slope = gradient(self.objective, self.objective.table[ids][None])
            prompt = self.objective.text(ids.tolist())
            visited[prompt] = (not survives(self.objective.tokenizer, ids.tolist()), float(loss))
            self.vectors.grad = slope[0].to(self.vectors)
            self._adam.step()
        return Proposal([min(visited, key=lambda prompt: visited[prompt])], passes=passes)

    @torch.no_grad()
    def nearest(self) -> Int[Tensor, " length"]:
        """The token of the highest cosine in each place, of those that may stand there."""
        cosine = normalize(self.vectors, dim=-1) @ self._unit.T
        return cosine.masked_fill(~allowed(self.objective, len(cosine)), -torch.inf).argmax(-1)

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

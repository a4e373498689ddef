"""GCG: random changes among the tokens that the gradient points to, in all places at once, the best taken over."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.lms.vocabulary import survives
from hardprompt.optimizers.gradient.objective import Objective, check_objective, draw, flips, gradient
from hardprompt.search.engine import EVERYTHING, Proposal
from hardprompt.search.seen import Seen

_DRAWS = 50  # for one candidate


class GCG:
    """Greedy coordinate gradient: of random single changes among each place's best ``top_k``, the best is taken over.

    Args:
        objective: a loss with gradients.
        length: tokens of a prompt.
        seed: of the first prompt and of the changes.
        candidates: prompts of a step, B in the paper.
        top_k: tokens of a place that are drawn among, k in the paper.
        recommended: how many of the best prompts ``recommend`` returns.

    Raises:
        InputError: a task without gradients, or a setting out of range.

    Source: Zou et al. 2023, Algorithm 1. As there, the step's best is taken over even when it is worse than the prompt
    before. The first prompt is random; the paper's is a row of exclamation marks.
    """

    def __init__(
        self,
        *,
        objective: Objective,
        length: int = 5,
        seed: int = 0,
        candidates: int = 15,
        top_k: int = 256,
        recommended: int = 9,
    ) -> None:
        check_objective(objective, "GCG")
        if not (1 <= length <= 32 and candidates >= 1 and top_k >= 1 and recommended >= 1):
            raise InputError(
                f"length={length}, candidates={candidates}, top_k={top_k}, recommended={recommended}: length must lie "
                "between 1 and 32, the others be at least 1."
            )
        self._objective, self._length = objective, length
        self._candidates, self._top_k, self._recommended = candidates, top_k, recommended
        self._generator = torch.Generator().manual_seed(seed)
        self._ids = draw(objective, length, self._generator)
        self._begun = False
        self._seen = Seen()

    def ask(self, room: int = EVERYTHING) -> Proposal:
        """Prompts that differ from the present one in one token; the first time, that one as well."""
        candidates = min(self._candidates, room - 1)
        if candidates < 1:
            return Proposal([])
        _, slope = gradient(self._objective, self._objective.table[self._ids][None])
        change = flips(self._objective, self._ids, slope[0].cpu())
        best = [row.argsort(stable=True)[: min(self._top_k, int(torch.isfinite(row).sum()))] for row in change]
        ids = [] if self._begun else [self._ids]
        for _ in range(candidates - len(ids)):
            found = self._changed(best, ids)
            if found is not None:
                ids.append(found)
        ids = ids or [draw(self._objective, self._length, self._generator)]
        return Proposal([self._objective.text(i) for i in ids], {"ids": ids}, passes=1)

    def tell(self, proposal: Proposal, rewards: Float[Tensor, " n"]) -> dict[str, float]:
        """Take over the best of the step."""
        self._seen.add(proposal.prompts, rewards.tolist())
        top = int(rewards.argmax())
        self._ids, self._begun = list(proposal.memo["ids"][top]), True
        return {"reward": float(rewards[top])}

    def recommend(self) -> list[str]:
        """The best prompts seen by training reward."""
        return self._seen.best(self._recommended)

    def state_dict(self) -> dict[str, Any]:
        """The prompt, what was seen and the generator."""
        return {
            "ids": list(self._ids),
            "begun": self._begun,
            "seen": self._seen.state_dict(),
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._ids, self._begun = list(state["ids"]), bool(state["begun"])
        self._seen.load_state_dict(state["seen"])
        self._generator.set_state(state["generator"])

    def _changed(self, best: list[Tensor], taken: list[list[int]]) -> list[int] | None:
        for _ in range(_DRAWS):
            place = int(torch.randint(self._length, (1,), generator=self._generator))
            token = int(best[place][torch.randint(len(best[place]), (1,), generator=self._generator)])
            ids = [*self._ids[:place], token, *self._ids[place + 1 :]]
            if ids != self._ids and ids not in taken and survives(self._objective.tokenizer, ids):
                return ids
        return None

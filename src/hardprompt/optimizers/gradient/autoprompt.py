"""AutoPrompt: one token at a time is changed for one of those that the gradient points to."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.lms.vocabulary import survives
from hardprompt.optimizers.gradient.objective import Objective, check_objective, draw, flips, gradient
from hardprompt.search.engine import EVERYTHING, Proposal
from hardprompt.search.seen import Seen


class AutoPrompt:
    """Changes one place of a prompt a step: the best of the tokens that the gradient puts first, if it is better.

    Args:
        objective: a loss with gradients.
        length: tokens of a prompt.
        seed: of the first prompt and of the places.
        candidates: prompts of a step.
        recommended: how many of the best prompts ``recommend`` returns.

    Raises:
        InputError: a task without gradients, or a setting out of range.

    Source: Shin et al. 2020, section 2.2. The first prompt is random where the paper's is made of mask tokens, which a
    prompt that can be pasted may not hold.
    """

    def __init__(
        self, *, objective: Objective, length: int = 5, seed: int = 0, candidates: int = 15, recommended: int = 9
    ) -> None:
        check_objective(objective, "AutoPrompt")
        if not (1 <= length <= 32 and candidates >= 1 and recommended >= 1):
            raise InputError(
                f"length={length}, candidates={candidates}, recommended={recommended}: length must lie between 1 and "
                "32, the others be at least 1."
            )
        self._objective, self._length = objective, length
        self._candidates, self._recommended = candidates, recommended
        self._generator = torch.Generator().manual_seed(seed)
        self._ids = draw(objective, length, self._generator)
        self._reward: float | None = None
        self._seen = Seen()

    def ask(self, room: int = EVERYTHING) -> Proposal:
        """The prompt with other tokens in one place; the first time, the prompt itself as well."""
        candidates = min(self._candidates, room - 1)
        if candidates < 1:
            return Proposal([])
        _, slope = gradient(self._objective, self._objective.table[self._ids][None])
        change = flips(self._objective, self._ids, slope[0].cpu())
        tried = [self._ids] if self._reward is None else []
        found: list[list[int]] = []
        for place in torch.randperm(self._length, generator=self._generator).tolist():
            found = self._flipped(place, change[place], candidates - len(tried))
            if found:  # at some places no token may follow its neighbours
                break
        if not found and not tried:
            found = [draw(self._objective, self._length, self._generator)]
        ids = [*tried, *found]
        return Proposal([self._objective.text(i) for i in ids], {"ids": ids}, passes=1)

    def tell(self, proposal: Proposal, rewards: Float[Tensor, " n"]) -> dict[str, float]:
        """Take over the best prompt if it is better than the one that there is."""
        self._seen.add(proposal.prompts, rewards.tolist())
        top = int(rewards.argmax())
        if self._reward is None or float(rewards[top]) > self._reward:
            self._ids, self._reward = list(proposal.memo["ids"][top]), float(rewards[top])
        return {"reward": self._reward}

    def recommend(self) -> list[str]:
        """The best prompts seen by training reward."""
        return self._seen.best(self._recommended)

    def state_dict(self) -> dict[str, Any]:
        """The prompt, what was seen and the generator."""
        return {
            "ids": list(self._ids),
            "reward": self._reward,
            "seen": self._seen.state_dict(),
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._ids, self._reward = list(state["ids"]), state["reward"]
        self._seen.load_state_dict(state["seen"])
        self._generator.set_state(state["generator"])

    def _flipped(self, place: int, change: Float[Tensor, " vocabulary"], most: int) -> list[list[int]]:
        found: list[list[int]] = []
        if most < 1:
            return found
        order = change.argsort(stable=True)[: int(torch.isfinite(change).sum())]
        for token in order.tolist():
            ids = [*self._ids[:place], token, *self._ids[place + 1 :]]
            if token != self._ids[place] and survives(self._objective.tokenizer, ids):
                found.append(ids)
            if len(found) >= most:
                break
        return found

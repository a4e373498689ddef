"""A method of one's own: single words of the best prompt so far are exchanged for other words of the model.

Run it with: hardprompt optimize my_module:reward --method examples.own_method:Exchange
"""

import random
from typing import Any, ClassVar

from hardprompt import PolicyLM, Proposal


class Exchange:
    """Hill climbing by words. A method is five functions; ``hardprompt.testing`` checks what they promise."""

    needs: ClassVar = {"policy", "length", "seed"}  # of hardprompt.optimizers.Need; all other arguments are settings

    def __init__(self, *, policy: PolicyLM, length: int, seed: int, proposals: int = 8) -> None:
        self._words = [policy.text([i]) for i in policy.follows.nonzero()[:, 0].tolist()]
        self._length, self._proposals, self._random = length, proposals, random.Random(seed)
        self._best: tuple[float, list[str]] = (float("-inf"), [])

    def ask(self, room: int) -> Proposal:
        """Prompts to be scored, at most ``room`` of them; none ends the search."""
        count = min(self._proposals, room)
        words = [self._changed(self._best[1]) for _ in range(count)]
        return Proposal(["".join(own) for own in words], memo=words)

    def tell(self, proposal: Proposal, rewards: Any) -> dict[str, float]:
        """Learn from a tensor of rewards; returns numbers for the log."""
        self._best = max(self._best, *zip(rewards.tolist(), proposal.memo, strict=True))
        return {"best": self._best[0]}

    def recommend(self) -> list[str]:
        """What is to be validated."""
        return ["".join(self._best[1])]

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs, of dicts, lists, strings, numbers, None and tensors."""
        version, numbers, gauss = self._random.getstate()
        return {"best": [self._best[0], self._best[1]], "random": [version, list(numbers), gauss]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        version, numbers, gauss = state["random"]
        self._random.setstate((version, tuple(numbers), gauss))
        self._best = (state["best"][0], list(state["best"][1]))

    def _changed(self, words: list[str]) -> list[str]:
        if not words:
            return self._random.choices(self._words, k=self._length)
        at = self._random.randrange(self._length)
        return [*words[:at], self._random.choice(self._words), *words[at + 1 :]]

"""Best of N: prompts sampled from the policy LM itself, the best by training reward recommended."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.lms.policy import PolicyLM
from hardprompt.optimizers.checks import MANY, TINY, check
from hardprompt.optimizers.drawing import Ids, drawn
from hardprompt.optimizers.qlearning.prefix import PrefixTree
from hardprompt.optimizers.record import Record
from hardprompt.search.engine import EVERYTHING, Proposal


@dataclass(kw_only=True, eq=False)
class BestOfN:
    """Ancestral samples of the frozen policy LM, over the tokens that a learner may propose; nothing is learned."""

    policy: PolicyLM  # frozen
    length: int = 5  # tokens of a prompt
    seed: int = 0  # of the sampling
    temperature: float = 1.0  # divides the LM's log-probabilities; 1 samples the LM as it is
    proposals: int = 16  # prompts asked for in a step
    recommended: int = 9  # how many of the best prompts ``recommend`` returns

    def __post_init__(self) -> None:
        check(
            length=(self.length, 1, 32), temperature=(self.temperature, TINY, MANY), proposals=(self.proposals, 1, MANY)
        )
        self._record = Record(seed=self.seed, recommended=self.recommended)
        self._tree = PrefixTree(policy=self.policy, top_k=None, tokens_kept=10_000_000)

    def ask(self, room: int = EVERYTHING) -> Proposal:
        """Sample prompts from the LM."""
        prompts = drawn(min(self.proposals, room), self.policy.tokenizer, self._draw)
        return Proposal([self.policy.text(p) for p in prompts])

    def tell(self, proposal: Proposal, rewards: Float[Tensor, " n"]) -> dict[str, float]:
        """Remember the rewards."""
        self._record.add(proposal, rewards)
        return {}

    def recommend(self) -> list[str]:
        """The best prompts seen by training reward."""
        return self._record.best()

    def state_dict(self) -> dict[str, Any]:
        """The generator, the prefixes and what was seen."""
        return {"tree": self._tree.state_dict(), **self._record.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._tree.load_state_dict(state["tree"])
        self._record.load_state_dict(state)

    def _draw(self, count: int) -> list[Ids]:
        prompts: list[Ids] = [()] * count
        for _ in range(self.length):
            for i, actions in enumerate(self._tree.actions_of(prompts)):
                p = torch.softmax(actions.log_p.cpu() / self.temperature, -1)
                token = actions.ids[torch.multinomial(p, 1, generator=self._record.generator)]
                prompts[i] = (*prompts[i], int(token))
        return prompts

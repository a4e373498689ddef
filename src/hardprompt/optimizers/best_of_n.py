"""Best of N: prompts sampled from the policy LM itself, the best by training reward recommended."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.lms.policy import PolicyLM
from hardprompt.lms.vocabulary import survives
from hardprompt.optimizers.qlearning.prefix import Ids, PrefixTree
from hardprompt.search.engine import EVERYTHING, Proposal
from hardprompt.search.seen import Seen

_DRAWS = 1000


class BestOfN:
    """Ancestral samples of the frozen policy LM, over the same tokens that a learner may propose; nothing is learned.

    Args:
        policy: the frozen policy LM.
        length: tokens of a prompt.
        seed: of the sampling.
        temperature: divides the LM's log-probabilities; 1 samples the LM as it is.
        proposals: prompts asked for in a step.
        recommended: how many of the best prompts ``recommend`` returns.
    """

    def __init__(
        self,
        *,
        policy: PolicyLM,
        length: int = 5,
        seed: int = 0,
        temperature: float = 1.0,
        proposals: int = 16,
        recommended: int = 9,
    ) -> None:
        if not (temperature > 0 and 1 <= length <= 32 and proposals >= 1 and recommended >= 1):
            raise InputError(
                f"temperature={temperature}, length={length}, proposals={proposals}, recommended={recommended}: "
                "temperature must be above 0, length between 1 and 32, the others at least 1."
            )
        self._policy = policy
        self._length, self._temperature = length, temperature
        self._proposals, self._recommended = proposals, recommended
        self._generator = torch.Generator().manual_seed(seed)
        self._tree = PrefixTree(policy=policy, top_k=None, tokens_kept=10_000_000)
        self._seen = Seen()

    def ask(self, room: int = EVERYTHING) -> Proposal:
        """Sample prompts from the LM."""
        prompts: list[Ids] = [()] * min(self._proposals, room)
        waiting = list(range(len(prompts)))
        for _ in range(_DRAWS):
            for _ in range(self._length):
                choices = self._tree.actions_of([prompts[i] for i in waiting])
                for i, actions in zip(waiting, choices, strict=True):
                    p = torch.softmax(actions.log_p.cpu() / self._temperature, -1)
                    prompts[i] = (*prompts[i], int(actions.ids[torch.multinomial(p, 1, generator=self._generator)]))
            dead = [i for i in waiting if not survives(self._policy.tokenizer, list(prompts[i]))]
            for i in dead:
                prompts[i] = ()
            waiting = dead
            if not waiting:
                return Proposal([self._policy.text(p) for p in prompts])
        raise InputError(f"no surviving prompt of {self._length} tokens was found in {_DRAWS} draws.")

    def tell(self, proposal: Proposal, rewards: Float[Tensor, " n"]) -> dict[str, float]:
        """Remember the rewards."""
        self._seen.add(proposal.prompts, rewards.tolist())
        return {}

    def recommend(self) -> list[str]:
        """The best prompts seen by training reward."""
        return self._seen.best(self._recommended)

    def state_dict(self) -> dict[str, Any]:
        """The generator, the prefixes and what was seen."""
        return {
            "generator": self._generator.get_state(),
            "tree": self._tree.state_dict(),
            "seen": self._seen.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._generator.set_state(state["generator"])
        self._tree.load_state_dict(state["tree"])
        self._seen.load_state_dict(state["seen"])

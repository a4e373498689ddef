"""Random search: prompts of tokens drawn uniformly, the best by training reward recommended."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.lms.policy import PolicyLM
from hardprompt.lms.vocabulary import survives
from hardprompt.optimizers.checks import MANY, check
from hardprompt.optimizers.record import Record
from hardprompt.search.engine import EVERYTHING, Proposal

_DRAWS = 1000  # attempts at a prompt that survives re-tokenisation, before giving up


@dataclass(kw_only=True, eq=False)
class RandomSearch:
    """Uniform draws of the very tokens that a learner may propose; the LM's probabilities are not looked at.

    Every prompt that survives re-tokenisation is equally likely.

    Raises:
        InputError: a setting out of range.
    """

    policy: PolicyLM  # frozen; only its vocabulary is used
    length: int = 5  # tokens of a prompt
    seed: int = 0  # of the draws
    proposals: int = 16  # prompts asked for in a step
    recommended: int = 9  # how many of the best prompts ``recommend`` returns

    def __post_init__(self) -> None:
        check(length=(self.length, 1, 32), proposals=(self.proposals, 1, MANY))
        opens, follows = (mask.nonzero()[:, 0] for mask in (self.policy.opens, self.policy.follows))
        self._choices = [opens, *[follows] * (self.length - 1)]
        self._record = Record(seed=self.seed, recommended=self.recommended)

    def ask(self, room: int = EVERYTHING) -> Proposal:
        """Draw prompts."""
        prompts: list[str] = []
        count, generator = min(self.proposals, room), self._record.generator
        for _ in range(_DRAWS):
            wanted = count - len(prompts)
            columns = [ids[torch.randint(len(ids), (wanted,), generator=generator)] for ids in self._choices]
            rows = torch.stack(columns, dim=1).tolist()
            prompts += [self.policy.text(ids) for ids in rows if survives(self.policy.tokenizer, ids)]
            if len(prompts) == count:
                return Proposal(prompts)
        raise InputError(f"no surviving prompt of {len(self._choices)} tokens was found in {_DRAWS} draws.")

    def tell(self, proposal: Proposal, rewards: Float[Tensor, " n"]) -> dict[str, float]:
        """Remember the rewards."""
        self._record.add(proposal, rewards)
        return {}

    def recommend(self) -> list[str]:
        """The best prompts seen by training reward."""
        return self._record.best()

    def state_dict(self) -> dict[str, Any]:
        """The generator and what was seen."""
        return self._record.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._record.load_state_dict(state)

"""Prompt tuning: the vectors of a prompt that is no text, trained by their gradient."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.errors import MissingExtra, pip_install
from hardprompt.optimizers.adam import adam_state, load_adam
from hardprompt.optimizers.checks import MANY, TINY, check
from hardprompt.optimizers.gradient.objective import Objective, gradient, soft_prompts
from hardprompt.optimizers.gradient.soft import BestSoft
from hardprompt.search.engine import EVERYTHING, Proposal


@dataclass(kw_only=True, eq=False)
class SoftPrompt:
    """Vectors in the prompt's place, trained with Adam on the whole training set.

    What is found cannot be read, pasted or moved to another model: it shows what the place of the prompt can hold.

    Raises:
        InputError: a task without gradients or without soft prompts, or a setting out of range.
        MissingExtra: peft is not installed.

    Source: Lester et al. 2021; the vectors are PEFT's, begun as sampled vocabulary. They stand where the template has
    the prompt, not before everything. The rate is ours: the paper trains its model family with Adafactor at 0.3.
    """

    objective: Objective  # a loss with gradients whose reward takes soft prompts
    length: int = 5  # vectors of a prompt
    seed: int = 0  # of the tokens that the vectors begin as
    passes: int = 15  # gradient steps between two proposals
    learning_rate: float = 0.01  # of Adam

    def __post_init__(self) -> None:
        self._soft = soft_prompts(self.objective, "prompt tuning")
        check(
            length=(self.length, 1, 1024), passes=(self.passes, 1, MANY), learning_rate=(self.learning_rate, TINY, MANY)
        )
        self._embedding = _begun(self.objective, self.length, self.seed)
        self._adam = torch.optim.Adam([self._embedding.weight], lr=self.learning_rate)
        self._best = BestSoft(self._soft)

    def ask(self, room: int = EVERYTHING) -> Proposal:
        """The vectors after some more steps."""
        passes = min(self.passes, room - 1)
        if passes < 1:
            return Proposal([])
        for _ in range(passes):
            _, slope = gradient(self.objective, self._embedding.weight[None])
            self._embedding.weight.grad = slope[0].to(self._embedding.weight)
            self._adam.step()
        return Proposal([self._soft.add(self._embedding.weight)], passes=passes)

    def tell(self, proposal: Proposal, rewards: Float[Tensor, " n"]) -> dict[str, float]:
        """Remember the best."""
        self._best.add(proposal.prompts, rewards)
        return {}

    def recommend(self) -> list[str]:
        """The best prompt seen by training reward."""
        return self._best.stand_by()

    def state_dict(self) -> dict[str, Any]:
        """The vectors, Adam's state, and the soft prompts that it ever stood by."""
        return {
            "vectors": self._embedding.weight.detach().clone(),
            "adam": adam_state(self._adam),
            "best": self._best.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._embedding.weight.data.copy_(state["vectors"])
        load_adam(self._adam, state["adam"])
        self._best.load_state_dict(state["best"])


def _begun(objective: Objective, length: int, seed: int) -> Any:
    try:
        from peft import PromptTuningConfig
        from peft.tuners.prompt_tuning import PromptEmbedding
    except ImportError as error:
        raise MissingExtra(
            "soft-prompt needs a package that is not installed: " + pip_install("'hardprompt[soft]'")
        ) from error
    config = PromptTuningConfig(
        num_virtual_tokens=length, token_dim=objective.table.shape[1], num_transformer_submodules=1,
        prompt_tuning_init="SAMPLE_VOCAB",
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):  # peft draws from the global generator
        torch.manual_seed(seed)
        make: Any = PromptEmbedding
        return make(config, torch.nn.Embedding.from_pretrained(objective.table)).embedding

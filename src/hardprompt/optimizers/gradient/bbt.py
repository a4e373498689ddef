"""Black-box tuning: CMA-ES in a random subspace of the vectors of a prompt that is no text."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.errors import MissingExtra, pip_install
from hardprompt.optimizers.checks import MANY, TINY, check
from hardprompt.optimizers.gradient.objective import Objective, soft_prompts
from hardprompt.optimizers.gradient.soft import BestSoft
from hardprompt.search.engine import EVERYTHING, Proposal
from hardprompt.search.files import Past


@dataclass(kw_only=True, eq=False)
class BBT:
    """Soft prompts A z + p0 whose z is found by CMA-ES from rewards alone; no gradient is taken.

    What is found cannot be read, pasted or moved to another model.

    Raises:
        InputError: a task without vectors or without soft prompts, or a setting out of range.
        MissingExtra: cma is not installed.

    Source: Sun et al. 2022, section 3 (500 dimensions, sigma 1, p0 of random tokens); A is normal with a scale that
    follows that of the vectors, as in the authors' BBTv2 (Sun et al., 2022b, section 4.2).
    """

    objective: Objective  # whose model has the vectors and whose reward takes soft prompts
    length: int = 5  # vectors of a prompt
    seed: int = 0  # of A, of the tokens p0 and of CMA-ES
    dimensions: int = 500  # of z
    proposals: int = 16  # the population, prompts of a step
    sigma: float = 1.0  # first step size of CMA-ES

    def __post_init__(self) -> None:
        self._soft = soft_prompts(self.objective, "black-box tuning")
        check(
            length=(self.length, 1, 1024), dimensions=(self.dimensions, 2, MANY), proposals=(self.proposals, 4, MANY),
            sigma=(self.sigma, TINY, MANY),
        )  # fmt: skip
        self._begin(self.seed)
        self._asked: list[Any] = []
        self._told: list[list[float]] = []
        self._best = BestSoft(self._soft)

    def ask(self, room: int = EVERYTHING) -> Proposal:
        """A population, whole or not at all."""
        if room < self.proposals:
            return Proposal([])
        self._asked = self._search.ask()
        z = torch.tensor(np.stack(self._asked), dtype=torch.float32)
        vectors = self._origin + (z @ self._project).reshape(len(z), *self._origin.shape)
        return Proposal([self._soft.add(v) for v in vectors])

    def tell(self, proposal: Proposal, rewards: Float[Tensor, " n"]) -> dict[str, float]:
        """Move the population towards the higher rewards."""
        self._told.append(rewards.tolist())
        self._search.tell(self._asked, (-rewards).tolist())
        self._best.add(proposal.prompts, rewards)
        return {"sigma": float(self._search.sigma)}

    def recommend(self) -> list[str]:
        """The best prompt seen by training reward."""
        return self._best.stand_by()

    def state_dict(self) -> dict[str, Any]:
        """Every reward so far, from which CMA-ES is built again, and the soft prompts that it ever stood by."""
        return {
            "seed": self.seed,
            "told": Past(self._told),
            "best": self._best.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned by going the same way again: the package stores itself as a pickle."""
        self._begin(int(state["seed"]))
        for rewards in state["told"]:
            self._search.tell(self._search.ask(), [-reward for reward in rewards])
        self._told = [list(rewards) for rewards in state["told"]]
        self._best.load_state_dict(state["best"])

    def _begin(self, seed: int) -> None:
        """CMA-ES before its first step, and the subspace that it searches."""
        self.seed = seed
        self._search = evolution(self.dimensions, self.sigma, self.proposals, seed)
        generator = torch.Generator().manual_seed(seed)
        table = self.objective.table
        tokens = self.objective.follows.nonzero()[:, 0]
        self._origin = table[tokens[torch.randint(len(tokens), (self.length,), generator=generator)]]
        scale = float(table[tokens].std()) / math.sqrt(self.dimensions)
        self._project = torch.randn(self.dimensions, self.length * table.shape[1], generator=generator) * scale


def evolution(dimensions: int, sigma: float, population: int, seed: int) -> Any:
    """CMA-ES around zero with random numbers of its own."""
    try:
        import cma
    except ImportError as error:
        raise MissingExtra("bbt needs a package that is not installed: " + pip_install("'hardprompt[bbt]'")) from error
    # A seed of its own would be planted into numpy's global generator.
    options = {"popsize": population, "verbose": -9, "seed": math.nan, "randn": np.random.RandomState(seed).randn}
    return cma.CMAEvolutionStrategy(np.zeros(dimensions), sigma, options)

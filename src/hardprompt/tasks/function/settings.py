"""The settings of `hardprompt optimize`: a prompt for any reward that a user writes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hardprompt.optimizers import Need
from hardprompt.search.plugins import load_object
from hardprompt.tasks.settings import Settings, flag

if TYPE_CHECKING:
    from hardprompt.lms.causal import CausalLM
    from hardprompt.lms.models import Models
    from hardprompt.tasks.function.task import FunctionTask
    from hardprompt.tasks.protocol import Notify

_BARE = "a reward of yours is a function that gives numbers and nothing else"


@dataclass(frozen=True, kw_only=True)
class Optimize(Settings):
    """The settings of a search for a user's own reward.

    Nothing is validated or tested: the reward is all that is known. ``start`` is read by the policy model only; a
    prompt does not contain it.
    """

    task: ClassVar[str] = "optimize"
    summary: ClassVar[str] = "learn a prompt for any reward: a Python function of your own"
    table: ClassVar[str] = "hardprompt.tasks.function.table:show"
    figure: ClassVar[str] = "reward"
    lacks: ClassVar[Mapping[Need, str]] = {Need.OBJECTIVE: _BARE, Need.EXAMPLES: _BARE}

    reward: str = flag(
        "MODULE:NAME of a function from a list of prompts to a list of numbers, or of a class that makes one",
        positional=True, role="code",
    )  # fmt: skip
    reward_timeout: float | None = flag(
        "seconds that one call of the reward may take", default=None, metavar="S", low=1e-3, high=1e9
    )
    manual: str | None = flag("a hand-written prompt to compare with", default=None, metavar="PROMPT")
    save_every: int = flag("steps between checkpoints", default=1, metavar="N", low=1, high=1e9)

    def about(self) -> list[str]:
        """The reward's own name."""
        return [self.reward.rpartition(":")[2]]

    def plan(self) -> dict[str, Any]:
        """The reward, which is imported."""
        load_object("reward", self.reward)
        return {"reward": self.reward}

    def load(self, models: "Models", policy_lm: "CausalLM", notify: "Notify") -> "FunctionTask":  # noqa: ARG002
        """The reward, made."""
        from hardprompt.tasks.function.reward import load_reward
        from hardprompt.tasks.function.task import FunctionTask

        return FunctionTask(
            load_reward(self.reward), timeout=self.reward_timeout, manual=self.manual, instruction=self.instruction,
            spaced=bool(self.start and not self.start[-1].isspace()), name=self.reward,
        )  # fmt: skip

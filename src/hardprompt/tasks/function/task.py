"""Any reward as a task: there is nothing to validate or test, since the reward is all that is known."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from hardprompt.data.markdown import block, plain
from hardprompt.lms.vocabulary import Tokens
from hardprompt.optimizers import Need
from hardprompt.search.engine import Trial
from hardprompt.search.rewards import Cached
from hardprompt.search.work import Work
from hardprompt.tasks.function.reward import FunctionReward, Scorer
from hardprompt.tasks.protocol import Perplexity, written


@dataclass(eq=False)
class FunctionTask:
    """A user's reward."""

    validate = None
    stages = None  # somebody's function is called for what is needed, and for nothing else
    start = ""
    precision = "float32"
    leads = False

    function: Scorer  # from a list of prompts to a list of numbers, higher is better
    _: KW_ONLY
    timeout: float | None = None  # seconds that one call of it may take; None waits for ever
    manual: str | None = None  # a hand-written prompt to compare with
    instruction: str | None = None  # for the methods that begin with one
    spaced: bool = False  # whether a prompt's first word carries a leading space
    name: str = "the reward"  # what the reward is called on the card

    def __post_init__(self) -> None:
        self.work = Work()
        self.reward = Cached(FunctionReward(self.function, timeout=self.timeout), work=self.work)

    def give(self, need: Need, *, tokens: Tokens, script: str) -> str:  # noqa: ARG002
        """What a person wrote."""
        return written(need, self.manual, self.instruction)

    def choose(self, trials: Sequence[Trial], perplexity: Perplexity) -> Trial:  # noqa: ARG002
        """The one of the highest reward, the earliest among equals."""
        return max(trials, key=lambda trial: trial.score)

    def shown(self, prompt: str) -> str:
        """As it is."""
        return prompt

    def report(self, prompt: str) -> dict[str, Any]:
        """The reward of the found prompt and of the manual one."""
        others = {} if self.manual is None else {"manual": self.manual}
        values = dict(zip([prompt, *others.values()], self.reward([prompt, *others.values()]).tolist(), strict=True))
        return {
            "test": {"reward": values[prompt]},
            "baselines": [
                {"name": name, "prompt": other, "test": {"reward": values[other]}, "evaluations": 0}
                for name, other in others.items()
            ],
        }

    def card(self, result: Mapping[str, Any]) -> str:
        """The prompt itself."""
        return (
            f"# A prompt for {plain(self.name)}\n\n{block(result['prompt'])}\n\n"
            f"Its reward is {result['test']['reward']:g}.\n"
        )

    def write(self, out: Path) -> None:
        """Nothing of its own."""

"""Any reward as a task: there is nothing to validate or test, since the reward is all that is known."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hardprompt.lms.vocabulary import Tokens
from hardprompt.optimizers import Need
from hardprompt.search.engine import Trial
from hardprompt.search.rewards import Cached
from hardprompt.tasks.function.reward import FunctionReward, Scorer
from hardprompt.tasks.protocol import Perplexity


class FunctionTask:
    """A user's reward.

    Args:
        function: from a list of prompts to a list of numbers, higher is better.
        timeout: seconds that one call of it may take; None waits for ever.
        manual: a hand-written prompt to compare with.
        instruction: for the methods that begin with one.
        spaced: whether a prompt's first word carries a leading space.
        name: what the reward is called on the card.
    """

    validate = None
    start = ""
    precision = "float32"
    leads = False

    def __init__(
        self,
        function: Scorer,
        *,
        timeout: float | None = None,
        manual: str | None = None,
        instruction: str | None = None,
        spaced: bool = False,
        name: str = "the reward",
    ) -> None:
        self.reward = Cached(FunctionReward(function, timeout=timeout))
        self.spaced = spaced
        self._manual, self._instruction, self._name = manual, instruction, name

    def give(self, need: Need, *, tokens: Tokens, script: str) -> str | None:  # noqa: ARG002
        """What a person wrote."""
        return self._manual if need is Need.MANUAL or self._instruction is None else self._instruction

    def choose(self, trials: Sequence[Trial], perplexity: Perplexity) -> Trial:  # noqa: ARG002
        """The one of the highest reward, the earliest among equals."""
        return max(trials, key=lambda trial: trial.score)

    def shown(self, prompt: str) -> str:
        """As it is."""
        return prompt

    def report(self, prompt: str) -> dict[str, Any]:
        """The reward of the found prompt and of the manual one."""
        others = {} if self._manual is None else {"manual": self._manual}
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
            f"# A prompt for {self._name}\n\n```\n{result['prompt']}\n```\n\n"
            f"Its reward is {result['test']['reward']:g}.\n"
        )

    def write(self, out: Path) -> None:
        """Nothing of its own."""

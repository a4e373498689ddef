"""`hardprompt optimize`: a prompt for any reward that a user writes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hardprompt.tasks import Command, Notify
from hardprompt.tasks.settings import Search, flag

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hardprompt.lms.causal import CausalLM
    from hardprompt.search.engine import Trial


@dataclass(frozen=True, kw_only=True)
class Optimize(Search):
    """The settings of a search for a user's own reward.

    Nothing is validated or tested: the reward is all that is known. ``start`` is read by the policy model only; a
    prompt does not contain it.
    """

    task: ClassVar[str] = "optimize"

    reward: str = flag(
        "MODULE:NAME of a function from a list of prompts to a list of numbers, or of a class that makes one",
        positional=True,
    )
    reward_timeout: float | None = flag(
        "seconds that one call of the reward may take", default=None, metavar="S", low=1e-3, high=1e9
    )
    manual: str | None = flag("a hand-written prompt to compare with", default=None, metavar="PROMPT")
    save_every: int = flag("steps between checkpoints", default=1, metavar="N", low=1, high=1e9)

    def lacking(self, thing: str) -> str | None:
        """Gradients and examples: a function of the user's has neither."""
        if thing in ("objective", "examples"):
            return "a reward of yours is a function that gives numbers and nothing else"
        return super().lacking(thing)

    def about(self) -> list[str]:
        """The reward's own name."""
        return [self.reward.rpartition(":")[2]]


class OptimizeWork:
    """A user's reward, loaded."""

    validate = None
    start = ""
    precision = "float32"

    def __init__(self, config: Optimize, _policy_lm: "CausalLM", _notify: Notify) -> None:
        from hardprompt.search.rewards import Cached
        from hardprompt.tasks.function.reward import FunctionReward, load_reward

        self._config = config
        self.reward = Cached(FunctionReward(load_reward(config.reward), timeout=config.reward_timeout))

    @property
    def spaced(self) -> bool:
        """Where the policy model imagines words before the prompt."""
        return bool(self._config.start and not self._config.start[-1].isspace())

    def give(self, thing: str, config: Search) -> str | None:
        """What a person wrote."""
        return config.written(thing)

    def choose(self, trials: "Sequence[Trial]") -> "Trial":
        """The one of the highest reward, the earliest among equals."""
        return max(trials, key=lambda trial: trial.score)

    def shown(self, prompt: str) -> str:
        """As it is."""
        return prompt

    def report(self, prompt: str) -> dict[str, Any]:
        """The reward of the found prompt and of the manual one."""
        others = {} if self._config.manual is None else {"manual": self._config.manual}
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
            f"# A prompt for {self._config.reward}\n\n```\n{result['prompt']}\n```\n\n"
            f"Its reward is {result['test']['reward']:g}.\n"
        )

    def write(self, out: Path) -> None:
        """Nothing of its own."""


def _plan(config: Optimize) -> dict[str, Any]:
    from hardprompt.tasks.function.reward import find_reward

    find_reward(config.reward)
    return {"reward": config.reward}


def show(result: Mapping[str, Any]) -> "list[RenderableType]":
    """Every prompt with its reward."""
    from rich.markup import escape

    from hardprompt.cli.present import number, table

    listing = table(
        f"Reward, and perplexity under {result['perplexity_by']}",
        ("method", "prompt"),
        ("reward", "perplexity", "support", "evaluations", "seconds"),
    )
    found = {"name": result["method"], **{k: result[k] for k in ("prompt", "test", "perplexity", "evaluations")}}
    for row in (*result["baselines"], found):
        own = row is found
        listing.add_row(
            row["name"], escape(json.dumps(row["prompt"], ensure_ascii=False)), f"{row['test']['reward']:.6g}",
            number(row["perplexity"]), number(result["support_size"]) if own else "-", str(row["evaluations"]),
            number(result["seconds"]) if own else "-",
        )  # fmt: skip
    return [listing]


COMMAND = Command(
    summary="learn a prompt for any reward: a Python function of your own",
    settings=Optimize,
    plan=_plan,
    load=OptimizeWork,
    headline=lambda test: float(test["reward"]),
    show=show,
    figure="reward",
)

"""A whole task of one's own: a prompt that uses as many letters of the alphabet as it can.

Run it with: hardprompt run examples/pangram.yaml --allow-code --out runs/pangram (see docs/tasks.md)
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hardprompt.optimizers import Need
from hardprompt.search.engine import Trial
from hardprompt.search.rewards import Cached
from hardprompt.tasks import Settings, flag
from hardprompt.tasks.tables import table


@dataclass(frozen=True, kw_only=True)
class Pangram(Settings):
    """What a user asks for: each field is a setting of the YAML file."""

    task: ClassVar[str] = "examples.pangram:Pangram"
    summary: ClassVar[str] = "use as many letters as possible"
    figure: ClassVar[str] = "share"
    table: ClassVar[str] = "examples.pangram:show"
    lacks: ClassVar[Mapping[Need, str]] = dict.fromkeys((Need.EXAMPLES, Need.OBJECTIVE), "letters have none")

    letters: str = flag("to be used", default="abcdefghijklmnopqrstuvwxyz")
    manual: str | None = flag("a hand-written prompt to compare with", default=None)

    def load(self, models: Any, policy_lm: Any, notify: Any) -> "PangramTask":
        """The task; a model would come from ``models``."""
        return PangramTask(self.letters, self.manual)


def show(result: Mapping[str, Any]) -> list[Any]:
    """The tables of a result."""
    made = table("Letters used", ["method", "prompt"], ["share"])
    for row in [*result["baselines"], {"name": result["method"], **result}]:
        made.add_row(row["name"], json.dumps(row["prompt"]), f"{row['test']['share']:.3f}")
    return [made]


class PangramTask:
    """What a search works with."""

    validate, start, spaced, precision, leads = None, "A sentence with many letters:", True, "float32", False

    def __init__(self, letters: str, manual: str | None) -> None:
        self._letters, self._manual = set(letters), manual
        self.reward = Cached(lambda prompts: [self._share(prompt) for prompt in prompts])

    def _share(self, prompt: str) -> float:
        return len(self._letters & set(prompt.lower())) / len(self._letters)

    def give(self, need: Need, *, tokens: str, script: str) -> Any:
        return self._manual

    def choose(self, trials: Sequence[Trial], perplexity: Any) -> Trial:
        return max(trials, key=lambda trial: trial.score)

    def shown(self, prompt: str) -> str:
        return prompt.strip()

    def report(self, prompt: str) -> dict[str, Any]:
        others = [] if self._manual is None else [self._manual]
        baselines = [
            {"name": "manual", "prompt": other, "test": {"share": self._share(other)}, "evaluations": 0}
            for other in others
        ]
        return {"test": {"share": self._share(prompt)}, "baselines": baselines}

    def card(self, result: Mapping[str, Any]) -> str:
        return f"# Letters\n\n```\n{result['prompt']}\n```\n\nIt uses {result['test']['share']:.0%} of them.\n"

    def write(self, out: Path) -> None:
        """Nothing of its own."""

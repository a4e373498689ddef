"""What a task is to a search: its data read, its models loaded."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.lms.vocabulary import Tokens
from hardprompt.optimizers import DESCRIBED, Need
from hardprompt.search.engine import Trial
from hardprompt.search.forecast import Stages
from hardprompt.search.rewards import Memoised, Reward
from hardprompt.search.work import Work

SPLITS = "splits.csv"
"""Of a run folder: which line of which file took which part, or none."""

Notify = Callable[[str], None]
"""Says what is being waited for."""

Perplexity = Callable[[Sequence[str]], Float[Tensor, " n"]]
"""Of texts, under a model; NaN where a text has none."""


@runtime_checkable
class Task(Protocol):
    """A task that is loaded: what a search needs of it, and what it says at the end."""

    precision: str
    """Of the rewards that the search learns from."""

    leads: bool
    """Whether its prompts stand before everything, the rest of the template as it is with the hand-written prompt."""

    @property
    def reward(self) -> Memoised:
        """Of the training data."""

    @property
    def validate(self) -> Reward | None:
        """Scores what the search recommends; without it the training reward chooses."""

    @property
    def start(self) -> str:
        """What the policy model reads before a prompt, unless the user says otherwise."""

    @property
    def spaced(self) -> bool:
        """Whether a prompt's first word carries a leading space."""

    def give(self, need: Need, *, tokens: Tokens, script: str) -> Any:
        """What a method needs, where the task's settings do not lack it; for prompts of such tokens."""

    def choose(self, trials: Sequence[Trial], perplexity: Perplexity) -> Trial:
        """The prompt that the search stands by, of those validated (at least one)."""

    def shown(self, prompt: str) -> str:
        """A searched prompt as a user pastes it."""

    def report(self, prompt: str) -> dict[str, Any]:
        """The task's part of ``result.json``; touches the test data, once.

        Has ``test``, and ``baselines``: a list of ``{name, prompt, test, evaluations}``.
        """

    def card(self, result: Mapping[str, Any]) -> str:
        """How to use the prompt: the middle of the run folder's README.md."""

    def write(self, out: Path) -> None:
        """Store the task's own files, such as its outputs, in the run folder."""


@runtime_checkable
class Staged(Protocol):
    """A task that has its scores made by a ``Work``: a run of it that is stopped goes on in the middle of any part."""

    work: Work
    """Makes what reward, validation and report ask for, group by group."""

    @property
    def stages(self) -> Stages | None:
        """What a run consists of, by which its time is estimated; None where a pass only to be timed costs too much."""


def written(need: Need, manual: str | None, instruction: str | None) -> str:
    """What a person wrote for a method: the manual prompt, the instruction or, for a phrase, the one or the other.

    Raises:
        InputError: there is none, or nothing that is written is needed.
    """
    phrase = manual if instruction is None else instruction
    text = {Need.MANUAL: manual, Need.INSTRUCTION: instruction, Need.PHRASE: phrase}.get(need)
    if text is None:
        raise InputError(f"the method needs {DESCRIBED[need]}, and the task has none.")
    return text

"""The commands that search: what each is made of, and the one list that registers them."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hardprompt.errors import unknown
from hardprompt.tasks.settings import Search

# Nothing heavy is imported here or at the top of a command's file: --help must answer at once.
if TYPE_CHECKING:
    from jaxtyping import Float
    from rich.console import RenderableType
    from torch import Tensor

    from hardprompt.lms.causal import CausalLM
    from hardprompt.search.engine import Reward, Trial

COMMANDS = ("classify", "restyle", "invert", "optimize")
Notify = Callable[[str], None]


class Memoised(Protocol):
    """A reward that remembers: what it knows is part of a checkpoint."""

    hits: int
    scored: int

    def __call__(self, prompts: list[str]) -> "Float[Tensor, ' n']":
        """One number per prompt."""
        ...

    @property
    def known(self) -> Mapping[str, float]:
        """The reward of each prompt that is remembered."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that an exact resume needs."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        ...


class Work(Protocol):
    """A task whose data and models are loaded: what a search needs of it, and what it says at the end."""

    @property
    def reward(self) -> Memoised:
        """Of the training data."""
        ...

    @property
    def validate(self) -> "Reward | None":
        """Scores what the search recommends; without it the training reward chooses."""
        ...

    @property
    def start(self) -> str:
        """What the policy model reads before a prompt, unless the user says otherwise."""
        ...

    @property
    def spaced(self) -> bool:
        """Whether a prompt's first word carries a leading space."""
        ...

    @property
    def precision(self) -> str:
        """Of the rewards that the search learns from."""
        ...

    def give(self, thing: str, config: Search) -> Any:
        """What a method needs, of ``optimizers.GIVEN``, where ``Search.lacking`` says that it is there."""
        ...

    def choose(self, trials: "Sequence[Trial]") -> "Trial":
        """The prompt that the run stands by, of those validated (at least one)."""
        ...

    def shown(self, prompt: str) -> str:
        """A searched prompt as a user pastes it."""
        ...

    def report(self, prompt: str) -> dict[str, Any]:
        """The task's part of ``result.json``; touches the test data, once.

        Has ``test``, and ``baselines``: a list of ``{name, prompt, test, evaluations}``.
        """
        ...

    def card(self, result: Mapping[str, Any]) -> str:
        """How to use the prompt: the middle of the run folder's README.md."""
        ...

    def write(self, out: Path) -> None:
        """Store the task's own files, such as its outputs, in the run folder."""
        ...


@dataclass(frozen=True)
class Command:
    """One task on the command line.

    Args:
        summary: what it does, in a few words.
        settings: its settings; their fields are its flags.
        plan: what a dry run says; reads the data and loads no model.
        load: reads the data and loads the task's models, given the policy LM (whose model a task may share).
        headline: the task's main figure of a ``test``.
        figure: what a table calls that figure.
        items: the same figure for each test item, from a finished run folder; None where a test has no items.
        show: the tables of a result.
        tested: what tells the test items of a finished run folder from others; None where a test has no items.
        parts: the runs that one command line stands for, each with its folder; one when None.
    """

    summary: str
    settings: type[Search]
    plan: Callable[[Any], dict[str, Any]]
    load: "Callable[[Any, CausalLM, Notify], Work]"
    headline: Callable[[Mapping[str, Any]], float]
    show: "Callable[[Mapping[str, Any]], list[RenderableType]]"
    figure: str
    items: Callable[[Path], list[float]] | None = None
    tested: Callable[[Path], str] | None = None
    parts: Callable[[Any, Path], list[tuple[Any, Path]]] | None = None


def column(file: Path, *names: str) -> list[list[str]]:
    """Columns of a CSV file of ours, row by row; a field may be longer than Python's reader allows by itself."""
    import csv

    csv.field_size_limit(2**31 - 1)
    with file.open(encoding="utf-8", newline="") as stream:
        return [[row[name] for name in names] for row in csv.DictReader(stream)]


def fingerprint(file: Path) -> str:
    """Of the column ``text`` of a CSV file of ours."""
    import hashlib

    return hashlib.sha256(str(column(file, "text")).encode()).hexdigest()


def find(name: str) -> Command:
    """The command of that name.

    Raises:
        InputError: there is none.
    """
    if name not in COMMANDS:
        raise unknown("task", name, COMMANDS)
    folder = "function" if name == "optimize" else name
    command: Command = importlib.import_module(f"hardprompt.tasks.{folder}.task").COMMAND
    return command

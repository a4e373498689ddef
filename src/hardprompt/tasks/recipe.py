"""A search as plain values: what a run folder writes down, and what any other process builds the same search from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from hardprompt import optimizers
from hardprompt.search.plugins import named_in_code
from hardprompt.tasks.registry import find
from hardprompt.tasks.settings import roles_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hardprompt.lms.causal import CausalLM
    from hardprompt.lms.models import Models
    from hardprompt.tasks.protocol import Notify, Task
    from hardprompt.tasks.settings import Settings

_SEARCH = ("method", "settings", "length", "seed", "tokens", "script", "start")
_BUDGET = ("evaluations", "seconds", "validate_every")


@dataclass(frozen=True)
class Recipe:
    """The settings of one search, as values that can be written down, pickled and sent to another machine."""

    values: Mapping[str, Any]  # every setting by name, and ``task``
    revisions: Mapping[str, str] = field(default_factory=dict)  # of models on the hub, by name: the commit to load

    @classmethod
    def of(cls, values: Mapping[str, Any], *, revisions: Mapping[str, str] | None = None) -> Self:
        """The recipe of these settings, checked, the others at their defaults.

        Raises:
            InputError: every fault that can be seen without loading a model or the data.
        """
        given = dict(values)
        settings = find(str(given.pop("task", "classify"))).from_dict(given)
        settings.check()
        return cls(settings.to_dict(), revisions or {})

    @property
    def task(self) -> str:
        """Its name."""
        return str(self.values["task"])

    @property
    def files(self) -> list[str]:
        """Every file of data that it reads."""
        return self._settings.files()

    @property
    def models(self) -> tuple[str, ...]:
        """The language models that take part in the search."""
        return tuple(name for key in ("policy_model", "task_model") if (name := self.values.get(key)))

    @property
    def loaded(self) -> tuple[str, ...]:
        """Every model that is run here, of whatever kind, and whatever for."""
        return tuple(dict.fromkeys(self._settings.models().values()))

    @property
    def search(self) -> dict[str, Any]:
        """The arguments of ``runs.Search``, beside the task and the policy model."""
        suggested = self._settings.suggested.get(self.values["method"], {})
        return {**{name: self.values[name] for name in _SEARCH}, "suggested": suggested}

    @property
    def budget(self) -> dict[str, Any]:
        """The arguments of its ``run``."""
        return {name: self.values[name] for name in _BUDGET}

    @property
    def default_out(self) -> Path:
        """The run folder where none is named."""
        return Path(self._settings.default_out())

    def plan(self) -> dict[str, Any]:
        """What a dry run says; reads the data and loads no model."""
        return self._settings.plan()

    def notes(self) -> list[str]:
        """What a dry run says beside the plan: what may be wrong and is no fault; no model is loaded or converted.

        Raises:
            InputError: a fault that is seen only then.
        """
        return self._settings.notes()

    def check_there(self) -> None:
        """Raise an InputError for a model that is nowhere, before libraries are waited for; a judge may be missing."""
        from hardprompt.lms.load import check_there

        roles = roles_of(find(self.task))
        for setting, name in self._settings.models().items():
            if setting != "judge":
                check_there(name, roles[setting], setting.replace("_", " "), revision=self.revisions.get(name))

    def check_models(self) -> None:
        """Raise an InputError for a model that is there and cannot be what it is needed for; no weights are loaded."""
        from hardprompt.lms.load import check_role

        roles, settings = roles_of(find(self.task)), self._settings
        kinds = {
            setting: check_role(name, roles[setting], setting.replace("_", " "), revision=self.revisions.get(name))
            for setting, name in settings.models().items()
        }
        settings.check_kinds(kinds)

    def changed(self, **values: Any) -> Self:
        """The same with other values, which are not checked."""
        return type(self)({**self.values, **values}, self.revisions)

    def pinned(self, revisions: Mapping[str, str]) -> Self:
        """The same with these commits of models on the hub."""
        return type(self)(self.values, revisions)

    def parts(self, out: Path) -> list[tuple[Self, Path]]:
        """The searches that it stands for, each with its folder; mostly itself alone."""
        parts = self._settings.parts(out)
        return [(type(self)(settings.to_dict(), self.revisions), folder) for settings, folder in parts]

    def load(self, models: "Models", policy_lm: "CausalLM", notify: "Notify" = lambda _: None) -> "Task":
        """The task, its data read and its models loaded: its reward is the same in every process.

        Raises:
            InputError: anything about data, models or settings.
        """
        return self._settings.load(models, policy_lm, notify)

    @property
    def _settings(self) -> "Settings":
        values = dict(self.values)
        return find(str(values.pop("task"))).from_dict(values)


def fitting(task: str, values: Mapping[str, Any], methods: Sequence[str]) -> list[str]:
    """Those of the methods that a task has all for, with these settings.

    Raises:
        InputError: a setting that the task does not have.
    """
    kind = find(task)
    known = {name: value for name, value in values.items() if value is not None}
    for needed in kind.missing(known):  # data may still be named beside it
        known[needed] = "-"
    settings = kind.from_dict(known)
    return [name for name in methods if not settings.lacking(optimizers.find(name).needs)]


def setting_names(task: str, *, role: str | None = None) -> list[str]:
    """The settings of a task, or those that name its files of data or its models."""
    return [field.name for field in fields(find(task)) if role in (None, field.metadata.get("role"))]


def figure(task: str) -> tuple[str, str]:
    """The headline of a task's tests: what tables call it, and its key there."""
    name = find(task).figure
    return name, name.lower()


def headline(result: Mapping[str, Any]) -> float:
    """The main figure of a result's test."""
    return tested(result["task"], result["test"])


def tested(task: str, test: Mapping[str, Any]) -> float:
    """The main figure of a test."""
    return float(test[figure(task)[1]])


def show(result: Mapping[str, Any]) -> "list[RenderableType]":
    """The tables of a result."""
    tables: list[RenderableType] = named_in_code("table", find(result["task"]).table)(result)
    return tables


def items(task: str, folder: Path) -> dict[str, list[Any]] | None:
    """``text`` and ``score`` of each test item of a finished run folder; None where a test has no items."""
    tested = find(task).tested
    return None if tested is None else named_in_code("test items", tested)(folder)

"""What a comparison consists of: methods, data sets, splits and seeds, and the search that each cell of them is."""

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self, get_type_hints

from pydantic import ConfigDict, Field, ValidationError, create_model
from typing_extensions import TypedDict

from hardprompt import optimizers
from hardprompt.compare.layers import by_split, check_layers
from hardprompt.compare.paths import with_plan_paths
from hardprompt.data import films
from hardprompt.data.named import LABEL, NAMED, TEXT, materialise
from hardprompt.errors import InputError, unknown
from hardprompt.lms.revisions import pins
from hardprompt.optimizers import Method, Need
from hardprompt.runs.folder import REVISIONS, moved, read_settings
from hardprompt.tasks import Recipe
from hardprompt.tasks.places import HOME
from hardprompt.tasks.places import found as found_at
from hardprompt.tasks.recipe import fitting, setting_names
from hardprompt.tasks.settings import DEFAULT_METHOD

_METHODS = ("manual", "best-of-n", "pin", DEFAULT_METHOD)  # where nothing else is said
_SEEDS = (0, 1, 2)
_NAMED = "named"  # the setting of a data set that the program knows
_TEST_ROWS = "test_rows"  # the setting of tasks that are tested on rows of a file
_ALL = 10**9
_KNOWN = (*NAMED, films.NAME)
_RUN_ONLY = ("method", "seed", "threads")  # what a run.yaml has and a comparison does not
_UNSAID = ("data", "settings", "save_every", "validate_every")  # what a note does not speak of
_STRICT = ConfigDict(strict=True)
_AtLeast1 = Annotated[int, Field(ge=1)]
_Named = Mapping[str, Mapping[str, Any]]
_WANTED = {  # by the name of pydantic's fault
    "dict_type": "a mapping with names for keys", "string_type": "a text", "int_type": "a whole number",
    "float_type": "a number", "greater_than_equal": "a whole number of at least 1", "sequence_str": "a list",
    "is_instance_of": "a list",
}  # fmt: skip


class _Own(TypedDict, total=False):
    """What is not as free as the other settings of a method, or of a set of models."""

    __pydantic_config__ = ConfigDict(extra="allow", strict=True)  # type: ignore[misc]
    method: Any
    settings: Mapping[str, Any] | None
    data: _Named | None


@dataclass(frozen=True)
class Cell:
    """One search of a comparison; ``split`` is empty where it stands for all splits."""

    data: str
    split: str
    method: str
    seed: int
    sown: bool  # whether the search depends on its seed
    folder: Path
    recipe: Recipe


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The contents of a comparison's YAML file.

    Raises:
        InputError: a setting where it would do nothing.
    """

    task: str = "classify"  # the command whose searches are compared
    title: str | None = ""  # of the tables
    source: str | None = ""  # where the protocol comes from
    settings: Mapping[str, Any] = field(default_factory=dict)  # of every search, as the command has them
    # Settings of each data set by its name; ``named`` takes one that the program knows: those of ``data.named`` have
    # splits; of ``films`` the seed draws the training texts. In a text, ``{folder}`` and ``{split}`` stand for the
    # folder of data and the split.
    data: _Named = field(default_factory=dict)
    splits: Sequence[str] = ()  # their names; none where data sets have none
    seeds: Sequence[int] = _SEEDS  # of the searches
    # By the name that the tables show: ``method``, and any settings that are its own.
    methods: Mapping[str, _Own] = field(default_factory=lambda: {name: {"method": name} for name in _METHODS})
    # Sets of settings, of which one is chosen, under ``data`` those of single data sets; ``claims`` are of the first.
    models: Mapping[str, _Own] = field(default_factory=dict)
    model: str | None = None  # the chosen set; None is the first
    # What a paper reports, by method and data set, in the unit of the task's main figure.
    claims: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    folder: str | None = None  # of the data
    test: _AtLeast1 | None = None  # test rows at most; None is all of a named data set, else what the settings say
    reference: str | None = None  # the method that the others are tested against; None is that of the best mean rank
    revisions: Mapping[str, str] = field(default_factory=dict)  # of models on the hub, by name: the commit to load
    typed: Mapping[str, Any] = field(default_factory=dict)  # settings given beside the file; they hold for all cells
    workers: _AtLeast1 | None = None  # searches side by side; None is as many as cores and memory allow

    def __post_init__(self) -> None:
        check_layers(vars(self))

    @classmethod
    def read(cls, path: Path) -> Self:
        """The plan in a YAML file, or the search in one, to be compared with other methods.

        Raises:
            InputError: the file holds neither, or is not trusted.
        """
        values = read_settings(path)
        if is_comparison(values):
            return cls.written(values, path.parent)
        own = moved(values, path.parent)[0]
        settings = {k: v for k, v in own.items() if k not in (*_RUN_ONLY, "task") and v is not None}
        plan = cls.of_search(str(values.get("task", "classify")), settings)
        return dataclasses.replace(plan, revisions=pins(values.get(REVISIONS)))

    @classmethod
    def written(cls, values: Mapping[str, Any], now: Path) -> Self:
        """The plan in the file of a folder, which may have moved.

        Raises:
            InputError: as ``from_dict``.
        """
        known = {k: v for k, v in values.items() if k not in (HOME, "version")}
        plan, home = cls.from_dict({**known, REVISIONS: pins(values.get(REVISIONS))}), values.get(HOME)
        if not isinstance(home, str):
            return plan
        return cls(**with_plan_paths(plan.to_dict(), lambda path, data: found_at(path, home, now, None, data=data)))

    @classmethod
    def of_search(cls, task: str, values: Mapping[str, Any]) -> Self:
        """One search to be tried with several methods: on its own data, and with those that the task has all for.

        Raises:
            InputError: a setting that the task does not have.
        """
        files = [values[name] for name in setting_names(task, role="data") if values.get(name)]
        first = files[0] if files else "data"
        called = Path(first if isinstance(first, str) else str(first[0])).stem
        plan = cls(task=task, settings=dict(values), data={called: {}})
        return plan.narrowed(methods=fitting(task, values, list(plan.methods)))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain values, naming what is unknown or of the wrong kind.

        Raises:
            InputError: such a value.
        """
        known = get_type_hints(cls, include_extras=True)
        for key in values:
            if key not in known:
                raise unknown("key of a comparison", str(key), known)
        kinds: dict[str, Any] = {name: (kind, None) for name, kind in known.items()}
        try:
            create_model("Plan", __config__=_STRICT, **kinds)(**values)
        except ValidationError as error:
            raise InputError(" ".join(map(_said, error.errors()))) from error
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for YAML."""
        return dataclasses.asdict(self)

    def narrowed(
        self,
        *,
        methods: Sequence[str] | None = None,
        data: Sequence[str] | None = None,
        splits: Sequence[str] | None = None,
        seeds: Sequence[int] | None = None,
        settings: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> Self:
        """The plan with only these methods and data sets, or with others that the program knows, and these settings.

        Raises:
            InputError: a name that neither the plan nor the program knows.
        """
        if methods is not None:
            own = {name: self.methods.get(name, {"method": name}) for name in methods}
            for name in methods:
                if name not in self.methods and ":" not in name and name not in optimizers.methods():
                    raise unknown("method", name, {*self.methods, *optimizers.methods()})
            changes["methods"] = own
        if data is not None:
            for name in data:
                if name not in self.data and name not in _KNOWN:
                    raise unknown("data set", name, {*self.data, *_KNOWN})
            changes["data"] = {name: self.data.get(name, {_NAMED: name}) for name in data}
        changes |= {"splits": splits and list(splits), "seeds": seeds and list(seeds)}
        if settings:
            changes["typed"] = {**self.typed, **settings}
        made = dataclasses.replace(self, **{k: v for k, v in changes.items() if v is not None})
        named = any(_NAMED in own for own in made.data.values())
        if splits is not None and not named and not by_split([made.settings, made.data]):
            raise InputError(f"splits are {list(splits)}, and no data set of the comparison has any.")
        if changes.get("test") is not None and not named and _TEST_ROWS not in setting_names(made.task):
            raise InputError(f"test rows are {changes['test']}, and {made.task} has none.")
        if made.reference is not None and made.reference not in made.methods:
            raise unknown("reference", made.reference, made.methods)
        return made

    @property
    def chosen(self) -> Mapping[str, Any]:
        """The settings of the chosen models."""
        return self.models[self.model] if self.model is not None else next(iter(self.models.values()), {})

    def cells(self, out: Path) -> list[Cell]:
        """Every search, its data files in place, split by split, so that what is done first is of use alone.

        Raises:
            InputError: a setting that a search refuses, with the cell that it belongs to.
        """
        if not self.seeds or not self.methods:
            raise InputError("a comparison needs a method and a seed.")
        if self.model is not None and self.model not in self.models:
            raise unknown("set of models", self.model, self.models)
        found: dict[str, Cell] = {}
        seen: set[str] = set()
        data, splits = self.data or {self.task: {}}, list(dict.fromkeys(self.splits or [""]))
        for split, (name, own), seed, label in itertools.product(
            splits, data.items(), dict.fromkeys(self.seeds), self.methods
        ):
            has_splits = own.get(_NAMED, films.NAME) != films.NAME or by_split({**self.settings, **own})
            if split != splits[0] and not has_splits:
                raise InputError(f"the data set {name!r} has no splits, so {split!r} would be {splits[0]!r} again.")
            try:
                needs = self._method(label).needs
            except InputError as error:
                raise InputError(f"{label}: {error}") from error
            if Need.SEED not in needs and seed != self.seeds[0]:
                continue
            where = ", ".join(part for part in (name, split, label, str(seed)) if part)
            try:
                recipe = Recipe.of(
                    {"task": self.task, **self._values(name, split, label, seed, out)}, revisions=self.revisions
                )
                key = str([recipe.files, {k: v for k, v in recipe.values.items() if k not in _RUN_ONLY}])
                if key not in seen:  # the data of each kind of cell are read once before anything runs
                    seen.add(key)
                    if len(recipe.parts(Path())) > 1:
                        raise InputError("a folder of pictures is several searches; name its pictures one by one.")
                    recipe.plan()
            except InputError as error:
                raise InputError(f"{where}: {error}") from error
            # Known before any text is seen, and tested on the same texts whatever the split.
            if needs and needs <= {Need.MANUAL, Need.INSTRUCTION} and not by_split(own.get("test", "")):
                if split != splits[0]:
                    continue
                split = ""
            # A name of what every file system takes.
            named = re.sub(r"[^\w.=+-]+", "_", "-".join(filter(None, (name, split, label, str(seed)))))
            cell = Cell(name, split, label, seed, Need.SEED in needs, out / "cells" / named, recipe)
            other = found.setdefault(named.casefold(), cell)
            if other is not cell:
                raise InputError(f"{where} would share its folder with {other.data}, {other.method}; rename one.")
        return list(found.values())

    def _method(self, label: str) -> Method:
        return optimizers.find(str(self.methods[label].get("method", label)))

    def _values(self, data: str, split: str, label: str, seed: int, out: Path) -> dict[str, Any]:
        """The settings of one cell: of all, then of the data set, of the models, of the method, and what was typed."""
        of_data, own = self.data.get(data, {}), self.methods[label]
        values = self._named(str(of_data[_NAMED]), split, seed, out) if _NAMED in of_data else {}
        values |= self.settings
        models = {k: v for k, v in self.chosen.items() if k != "data"}
        for layer in (of_data, models, (self.chosen.get("data") or {}).get(data, {}), own):
            values |= {k: v for k, v in layer.items() if k != _NAMED}
        values |= self.typed
        if self.test is not None and _NAMED not in of_data:
            values[_TEST_ROWS] = self.test
        general = {**(self.settings.get("settings") or {}), **(self.typed.get("settings") or {})}
        accepted = self._method(label).accepted() if general else {}  # which imports the method
        general = {key: value for key, value in general.items() if key in accepted}  # not every method has an alpha
        values["settings"] = {**general, **(own.get("settings") or {})}
        values["method"], values["seed"] = str(values.get("method", label)), seed
        if "data_seed" in setting_names(self.task):
            values.setdefault("data_seed", self.seeds[0])  # every search is tested on the same texts
        return {key: self._filled(value, split) for key, value in values.items()}

    def _named(self, name: str, split: str, seed: int, out: Path) -> dict[str, Any]:
        """A data set that the program knows, as settings of a classification: its files, and how it is posed."""
        if name == films.NAME:
            posed = films.materialise(out / "data" / name / str(seed), seed=seed, test=self.test)
            return {**posed, _TEST_ROWS: _ALL}
        if name not in NAMED:
            raise unknown("data set", name, _KNOWN)
        if not split:
            raise InputError(f"the data set {name!r} has splits: name one or more, such as 16-100.")
        files = {part: str(out / "data" / name / split / f"{part}.tsv") for part in ("train", "validation", "test")}
        if not all(Path(file).is_file() for file in files.values()):
            folder = Path(self.folder) if self.folder is not None else None
            materialise(name, split, out / "data", folder=folder, test=self.test)
        known = NAMED[name]
        return {
            **files, _TEST_ROWS: _ALL, "text": TEXT, "label": LABEL, "template": known.template, "manual": known.manual,
            "verbalizers": dict(known.verbalizers), "instruction": known.instruction,
        }  # fmt: skip

    def _filled(self, value: Any, split: str) -> Any:
        if isinstance(value, list | tuple):
            return [self._filled(part, split) for part in value]
        if not isinstance(value, str):
            return value
        if "{folder}" in value and self.folder is None:
            raise InputError(f"{value!r} lies in a folder of data: name it with --folder.")
        return value.replace("{folder}", self.folder or "").replace("{split}", split)

    def note(self) -> str | None:
        """Where what is run is not what the file says of its first set of models, in a sentence; None where it is."""
        if not self.models and not self.claims:
            return None
        first: Mapping[str, Any] = next(iter(self.models.values()), {})
        theirs, ours = {**self.settings, **first}, {**self.settings, **self.chosen, **self.typed}
        parts = []
        for key in dict.fromkeys([*theirs, *ours]):
            was, now = ("the default" if own.get(key) is None else own[key] for own in (theirs, ours))
            if key not in _UNSAID and theirs.get(key) != ours.get(key):
                parts.append(f"{key.replace('_', ' ')} {now} in place of {was}")
        if first.get("data") != self.chosen.get("data"):
            parts.append("and templates and words of its own for the data sets")
        if self.test is not None:
            parts.append(f"{self.test} test texts")
        said = "The settings are not those of the file's first models"
        if self.claims:
            said = "The paper measured something else than what was measured here"
        return f"{said}: {', '.join(parts)}." if parts else None


def _said(fault: Any) -> str:
    """What stands where in a plan, and what was expected there."""
    path = [fault["loc"][0], *map(repr, fault["loc"][1:])]
    if fault["loc"][-1] == "[key]":
        path[-2:] = ["a name"]
    wanted = _WANTED.get(fault["type"], "a text for a name" if fault["type"] == "invalid_key" else fault["msg"])
    return f"{' of '.join(reversed(path))} is {fault['input']!r}; {wanted} was expected."


def is_comparison(values: Mapping[str, Any]) -> bool:
    """Whether the mapping in a YAML file is a comparison's, and not a single search's."""
    return "methods" in values or "data" in values

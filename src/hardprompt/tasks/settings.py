"""Settings of a search: what every task has in common, how they are checked, and how they are read and written."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

from hardprompt.errors import InputError, is_broken, unknown
from hardprompt.optimizers import DESCRIBED, Need, find

# Nothing heavy is imported here or at the top of a task's settings: --help must answer at once.
if TYPE_CHECKING:
    from hardprompt.lms.causal import CausalLM
    from hardprompt.lms.models import Models
    from hardprompt.lms.roles import Role
    from hardprompt.tasks.protocol import Notify, Task

DEFAULT_METHOD = "pin-prior"
DEFAULT_MODEL = "embedded:smollm2"
DEFAULT_JUDGE = "embedded:gemma3"
ENCODING = "of the data files, such as cp1251 (else UTF-8, UTF-16 with its mark, or Windows-1252 after a warning)"
MOST_TOKENS = 1024  # of a text
CUT = "tokens of the task model at which a text is cut"
Precision = Literal["auto", "float32", "bfloat16", "float16"]
# What a person writes for a method, and the settings that may hold it, the first that is given before the others.
_WRITTEN = {Need.MANUAL: ("manual",), Need.INSTRUCTION: ("instruction",), Need.PHRASE: ("instruction", "manual")}


def flag(
    help: str,
    *,
    default: Any = dataclasses.MISSING,
    factory: Any = dataclasses.MISSING,
    metavar: str | None = None,
    low: float | None = None,
    high: float | None = None,
    positional: bool = False,
    name: str | None = None,
    escapes: bool = False,
    role: str | None = None,
) -> Any:
    r"""A field of settings with what a command line says of it; ``low`` and ``high`` are the range of a number.

    A field without a default is required. A field of strings may be given several times; ``name`` is then what one is
    called on the command line. ``escapes`` says that ``\n`` and ``\t`` typed there are a line break and a tab. ``role``
    says that it names a file of ``data``, a model that is run here (``lms.roles.ROLES``), ``code`` of the user's, or
    the ``address`` where something is sent to; by it a run folder finds data and models after a move.
    """
    metadata = {"help": help, "metavar": metavar, "range": (low, high), "positional": positional, "flag": name}
    metadata |= {"escapes": escapes, "role": role}
    return dataclasses.field(default=default, default_factory=factory, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Settings(ABC):
    """A search as a user asks for it: the settings that every task has, as ``run.yaml`` holds them.

    A task's own settings are a frozen dataclass that extends these; the class stands in the registry of tasks.
    """

    task: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    figure: ClassVar[str] = ""
    """The headline of a test as tables call it; its key there is the same in lower case."""
    table: ClassVar[str] = ""
    """``module:name`` of the function from a result to the tables that show it."""
    tested: ClassVar[str | None] = None
    """``module:name`` of the function from a finished run to ``text`` and ``score`` of each test item, if any."""
    suggested: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Settings of methods that suit the task better than their own, by the method's name."""
    lacks: ClassVar[Mapping[Need, str]] = {}
    """What the task has not for a method that needs it, and why."""

    method: str = flag("of search; hardprompt methods lists them", default=DEFAULT_METHOD, metavar="NAME", role="code")
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # of the method, where they differ
    policy_model: str = flag("model that proposes prompts", default=DEFAULT_MODEL, metavar="MODEL", role="causal model")
    judge: str = flag(
        "model that measures perplexity; should take no other part", default=DEFAULT_JUDGE, metavar="MODEL",
        role="causal model",
    )  # fmt: skip
    tokens: Literal["words", "any"] | None = flag(
        "what a prompt is made of: words or any", default=None, metavar="KIND"
    )
    script: str = flag("of the words, by its Unicode name: latin, cyrillic, hangul", default="latin", metavar="NAME")
    start: str | None = flag("text that the policy model imagines before the prompt", default=None, metavar="TEXT")
    instruction: str | None = flag(
        "an instruction, for the methods that begin with one", default=None, metavar="PROMPT"
    )
    length: int = flag("tokens of the prompt", default=5, metavar="L", low=1, high=32)
    evaluations: int = flag("budget in prompts scored", default=192, metavar="N", low=1, high=1e9)
    seconds: float | None = flag("budget in seconds", default=None, metavar="S", low=1e-3, high=1e9)
    seed: int = flag("of everything random", default=0, low=0, high=2**31 - 1)
    threads: int | None = flag("CPU threads", default=None, metavar="N", low=1, high=1024)
    validate_every: int = flag("steps between validations", default=6, metavar="N", low=1, high=1e9)
    save_every: int = flag("steps between checkpoints", default=5, metavar="N", low=1, high=1e9)

    # What a task's own settings say.

    @abstractmethod
    def load(self, models: "Models", policy_lm: "CausalLM", notify: "Notify") -> "Task":
        """The task, its data read and its models loaded.

        Raises:
            InputError: anything about data, models or settings.
        """

    def plan(self) -> dict[str, Any]:
        """What a dry run says; reads the data and loads no model."""
        return {}

    def notes(self) -> list[str]:
        """What a dry run says beside the plan that takes more than reading the data."""
        return []

    def check_task(self) -> None:  # noqa: B027, most tasks have no more to check
        """Raise an InputError for what is wrong with a task's own settings."""

    def check_kinds(self, kinds: Mapping[str, set[str]]) -> None:  # noqa: B027, as above
        """Raise an InputError for what does not go with a model; by setting what each can be (``lms.roles.KINDS``)."""

    def files(self) -> list[str]:
        """Every file of data that the settings name; a resumed run needs them unchanged."""
        return self._of_role("data")

    def models(self) -> dict[str, str]:
        """The name of every model that is run here, by the setting that names it."""
        return {setting: name for setting in roles_of(type(self)) if (name := getattr(self, setting)) is not None}

    def about(self) -> list[str]:
        """What the default run folder is called after, beside task, method and seed."""
        return []

    def parts(self, out: Path) -> list[tuple[Self, Path]]:
        """The runs that these settings stand for, each with its folder."""
        return [(self, out)]

    # What is the same for every task.

    def default_out(self) -> str:
        """The run folder where none is named."""
        return "-".join(["runs/" + self.task, *self.about(), self.method.replace(":", "."), str(self.seed)])

    def written(self, need: Need) -> str | None:
        """What a person wrote: a manual prompt, an instruction, or a phrase, which is the one or the other."""
        return next((text for name in _WRITTEN[need] if (text := getattr(self, name, None)) is not None), None)

    def lacking(self, needs: frozenset[Need]) -> dict[Need, str]:
        """What a method needs and the task has not, with the reason."""
        missing = {need: self.lacks[need] for need in sorted(needs) if need in self.lacks}
        for need in sorted(needs & set(_WRITTEN)):
            if self.written(need) is None:
                missing[need] = f"give one with {' or '.join(f'--{name}' for name in _WRITTEN[need])}"
        return missing

    def check(self) -> None:
        """Raise one InputError that names every fault that can be seen without loading a model or the data."""
        from hardprompt.tasks.checks import faults

        kinds, found = faults(type(self), vars(self))
        kinds += self._broken()
        if kinds:  # nothing below can be asked of values of the wrong kind
            raise InputError(" ".join(kinds))
        found += self._check_files()
        for check in (self._check_script, self._check_models, self.check_task, self._check_method):
            try:
                check()
            except InputError as error:
                found.append(str(error))
        if found:
            raise InputError(" ".join(found))

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for YAML."""
        return {"task": self.task, **{f.name: _plain(getattr(self, f.name)) for f in fields(self)}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain values, naming every unknown or missing key.

        Raises:
            InputError: a key that is no setting, a mapping that is none, what is no text in one of texts, or a setting
                missing that is needed.
        """
        known = {f.name: f for f in fields(cls)}
        for key in values:
            if key not in known:
                raise unknown("setting", str(key), known)
        needed = [f.name for f in fields(cls) if required(f)]
        for name in cls.missing(values):
            raise InputError(f"the configuration has no {name!r}; needed: {', '.join(needed)}.")
        hints = get_type_hints(cls)
        ready: dict[str, Any] = {}
        for name, value in values.items():
            kind = get_origin(hints[name])
            if kind is Mapping and not isinstance(value, Mapping):
                raise InputError(f"{name} is {value!r}; a mapping was expected.")
            if kind is Mapping and name != "settings":
                value = _by_class(name, value, of_text=get_args(hints[name])[1] is str)
            ready[name] = tuple(value) if kind is tuple and isinstance(value, list) else value
        return cls(**ready)

    @classmethod
    def missing(cls, values: Mapping[str, Any]) -> list[str]:
        """The settings that are needed and not given."""
        return [f.name for f in fields(cls) if required(f) and not values.get(f.name)]

    def _of_role(self, role: str) -> list[str]:
        values = [getattr(self, f.name) for f in fields(self) if f.metadata.get("role") == role]
        return [name for value in values if value for name in ((value,) if isinstance(value, str) else value)]

    def _broken(self) -> list[str]:
        """What is no text in the settings, but for files of data, which are looked at with what else is wrong there."""
        waiting = [(f.name, getattr(self, f.name)) for f in fields(self) if f.metadata.get("role") != "data"]
        found = []
        for name, value in waiting:
            if isinstance(value, str) and is_broken(value):
                found.append(f"{name} holds {value!r}, which is not UTF-8 text.")
            elif isinstance(value, Mapping):
                waiting += [(name, part) for pair in value.items() for part in pair]
            elif isinstance(value, tuple | list):
                waiting += [(name, part) for part in value]
        return found

    def _check_files(self) -> list[str]:
        faults = []
        for path in self.files():
            if not Path(path).exists():
                faults.append(f"data file {path!r} does not exist.")
            elif is_broken(path):
                faults.append(f"data file {path!r} has a name that is not UTF-8; rename it.")
        return faults

    def _check_script(self) -> None:
        from hardprompt.lms.scripts import check_script

        check_script(self.script)

    def _check_models(self) -> None:
        from hardprompt.lms.roles import check_name

        roles = roles_of(type(self))
        for setting, name in self.models().items():
            check_name(name, roles[setting], setting.replace("_", " "))

    def _check_method(self) -> None:
        from hardprompt.tasks.checks import check_settings

        method = find(self.method)
        for need, reason in self.lacking(method.needs).items():
            raise InputError(f"method {self.method!r} needs {DESCRIBED[need]}: {reason}.")
        if self.settings:  # a method's constructor is imported to see what it takes, which waits for torch
            check_settings(self.method, method, self.settings)


def roles_of(settings: type[Settings]) -> "dict[str, Role]":
    """The settings that name a model, and what it has to be."""
    from hardprompt.lms.roles import ROLES

    named = ((f.name, f.metadata.get("role")) for f in fields(settings))
    return {name: ROLES[role] for name, role in named if role in ROLES}


def required(field: "dataclasses.Field[Any]") -> bool:
    """Whether a setting has no default."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def check_values(build: Callable[..., Any], values: Mapping[str, Any]) -> None:
    """Raise an InputError that names every value that is not of the kind, or not in the range, that ``build`` says."""
    from hardprompt.tasks.checks import faults  # only here: it brings in pydantic, which --help must not wait for

    if found := [fault for kind in faults(build, values) for fault in kind]:
        raise InputError(" ".join(found))


def _by_class(setting: str, given: Mapping[Any, Any], *, of_text: bool) -> dict[str, Any]:
    """A mapping whose keys are classes: YAML reads yes as True and 1.10 as 1.1, which is not what somebody wrote."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        if not isinstance(key, str) and type(key) is not int:  # 1 is the class "1"
            raise InputError(f"{setting} has the class {key!r}; a text was expected: in YAML put it in quotes.")
        if str(key) in found:
            raise InputError(f"{setting} has the class {str(key)!r} twice.")
        if of_text and not isinstance(value, str):
            raise InputError(
                f"{setting} has {value!r} for the class {str(key)!r}; a text was expected: in YAML put it in quotes."
            )
        found[str(key)] = value
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value

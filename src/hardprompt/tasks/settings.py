"""Settings of a search: what every task has in common, how they are checked, and how they are read and written."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Self, Union, get_args, get_origin, get_type_hints

from hardprompt.errors import InputError, unknown

DEFAULT_METHOD = "pin-prior"
DEFAULT_MODEL = "embedded:smollm2"
DEFAULT_JUDGE = "embedded:gemma3"
Precision = Literal["auto", "float32", "bfloat16", "float16"]
_KINDS = {int: "a whole number", float: "a number", str: "a text", Mapping: "a mapping", tuple: "a list"}
# What a person writes for a method, and the settings that may hold it, the first that is given before the others.
_WRITTEN = {"manual": ("manual",), "instruction": ("instruction",), "phrase": ("instruction", "manual")}
_TOKENS = ("words", "any")  # as hardprompt.vocabulary has them, which brings in torch


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
) -> Any:
    """A field of settings with what a command line says of it; ``low`` and ``high`` are the range of a number.

    A field without a default is required. A field of strings may be given several times; ``name`` is then what one is
    called on the command line.
    """
    metadata = {"help": help, "metavar": metavar, "range": (low, high), "positional": positional, "flag": name}
    if factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Search:
    """The settings that every task has, as ``run.yaml`` holds them."""

    task: ClassVar[str] = ""
    data: ClassVar[tuple[str, ...]] = ()
    """Settings that name a file of data; a resumed run needs them unchanged."""
    suggested: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Settings of methods that suit the task better than their own, by the method's name."""

    method: str = flag("of search; hardprompt methods lists them", default=DEFAULT_METHOD, metavar="NAME")
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # of the method, where they differ
    policy_model: str = flag("model that proposes prompts", default=DEFAULT_MODEL, metavar="MODEL")
    judge: str = flag(
        "model that measures perplexity; should take no other part", default=DEFAULT_JUDGE, metavar="MODEL"
    )
    tokens: str | None = flag("what a prompt is made of: words or any", default=None, metavar="KIND")
    script: str = flag("of the words, by its Unicode name", default="latin", metavar="NAME")
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

    def check(self) -> None:
        """Raise one InputError that names every fault that can be seen without loading a model or the data."""
        faults = _faults(type(self), vars(self))
        if faults:  # nothing below can be asked of values of the wrong kind
            raise InputError(" ".join(faults))
        faults += _range_faults(type(self), vars(self))
        if self.tokens is not None and self.tokens not in _TOKENS:
            faults.append(str(unknown("kind of tokens", self.tokens, _TOKENS)))
        for path in self.files():
            if not Path(path).exists():
                faults.append(f"data file {path!r} does not exist.")
            elif any("\ud800" <= letter <= "\udfff" for letter in path):
                faults.append(f"data file {path!r} has a name that is not UTF-8; rename it.")
        for check in (self._check_models, self.check_task, self._check_method):
            try:
                check()
            except InputError as error:
                faults.append(str(error))
        if faults:
            raise InputError(" ".join(faults))

    def check_task(self) -> None:
        """Raise an InputError for what is wrong with a task's own settings."""

    def lacking(self, thing: str) -> str | None:
        """Why there is no such thing (of ``optimizers.GIVEN``) for a method that needs it; None when there is."""
        if thing in _WRITTEN:
            flags = " or ".join(f"--{name}" for name in _WRITTEN[thing])
            return None if self.written(thing) is not None else f"give one with {flags}"
        return None if thing in ("policy", "length", "seed") else f"the task {self.task!r} has none"

    def written(self, thing: str) -> str | None:
        """What a person wrote: ``manual``, ``instruction``, or a ``phrase``, which is the one or the other."""
        return next((text for name in _WRITTEN[thing] if (text := getattr(self, name, None)) is not None), None)

    def files(self) -> list[str]:
        """Every file of data that the settings name."""
        values = [getattr(self, name) for name in self.data]
        return [path for value in values if value for path in ((value,) if isinstance(value, str) else value)]

    def local_models(self) -> list[str]:
        """Every language model that the settings name and that is run here."""
        return [self.policy_model, *([self.judge] if self.judge is not None else [])]

    def default_out(self) -> str:
        """The run folder where none is named."""
        return "-".join(["runs/" + self.task, *self.about(), self.method.replace(":", "."), str(self.seed)])

    @property
    def alphabet(self) -> Any:
        """What a prompt may be made of (``vocabulary.Tokens``): as the user says, else as the method has it."""
        from hardprompt import optimizers

        return self.tokens or optimizers.find(self.method).tokens

    def about(self) -> list[str]:
        """What the default run folder is called after, beside task, method and seed."""
        return []

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for YAML."""
        return {"task": self.task, **{f.name: _plain(getattr(self, f.name)) for f in fields(self)}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain values, naming every unknown or missing key.

        Raises:
            InputError: a key that is no setting, a mapping that is none, or a setting missing that is needed.
        """
        known = {f.name: f for f in fields(cls)}
        for key in values:
            if key not in known:
                raise unknown("setting", str(key), known)
        needed = [f.name for f in fields(cls) if _required(f)]
        for name in cls.missing(values):
            raise InputError(f"the configuration has no {name!r}; needed: {', '.join(needed)}.")
        hints = get_type_hints(cls)
        ready: dict[str, Any] = {}
        for name, value in values.items():
            kind = get_origin(hints[name])
            if kind is Mapping and not isinstance(value, Mapping):
                raise InputError(f"{name} is {value!r}; a mapping was expected.")
            if kind is Mapping and name != "settings":
                value = {str(k): str(v) for k, v in value.items()}
            ready[name] = tuple(value) if kind is tuple and isinstance(value, list) else value
        return cls(**ready)

    @classmethod
    def missing(cls, values: Mapping[str, Any]) -> list[str]:
        """The settings that are needed and not given."""
        return [f.name for f in fields(cls) if _required(f) and not values.get(f.name)]

    def _check_models(self) -> None:
        from hardprompt.lms.load import check_name

        for name in dict.fromkeys(self.local_models()):
            check_name(name)

    def _check_method(self) -> None:
        from hardprompt import optimizers  # only here: it brings in torch, which --help must not wait for

        method = optimizers.find(self.method)
        for thing in method.needs:
            reason = self.lacking(thing)
            if reason is not None:
                raise InputError(f"method {self.method!r} needs {optimizers.GIVEN[thing]}: {reason}.")
        accepted = method.accepted()
        for name, value in self.settings.items():
            if name not in accepted:
                raise unknown(f"setting of method {self.method!r}", name, accepted)
            if name == "top_k" and isinstance(value, int) and value < 1:
                raise InputError(f"top_k is {value!r}; it must be a whole number of at least 1.")
            if name == "q" and isinstance(value, int | float) and not value >= 1:
                raise InputError(f"q is {value!r}; it must be a number of at least 1 (1 softmax, 2 sparsemax).")
            if name in ("alpha", "learning_rate") and isinstance(value, int | float) and not value > 0:
                raise InputError(f"{name} is {value!r}; it must be a number above 0.")
        faults = _faults(method.build, self.settings)
        if faults:
            raise InputError(" ".join(faults))


def _required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def check_ranges(settings: type[Search], values: Mapping[str, Any]) -> None:
    """Raise an InputError that names every number outside its range."""
    faults = [*_faults(settings, values), *_range_faults(settings, values)]
    if faults:
        raise InputError(" ".join(faults))


def _range_faults(settings: type[Search], values: Mapping[str, Any]) -> list[str]:
    faults = []
    for field in fields(settings):
        low, high = field.metadata.get("range", (None, None))
        value = values.get(field.name)
        if low is not None and isinstance(value, int | float) and not low <= value <= high:
            faults.append(f"{field.name} is {value!r}; it must be a number between {low:,g} and {_readable(high)}.")
    return faults


def _readable(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) else f"{number:g}"


def _faults(signature: Any, values: Mapping[str, Any]) -> list[str]:
    """Values that are not of the kind that ``signature`` says; an int is good for a float, a bool for neither."""
    plain_class = isinstance(signature, type) and not is_dataclass(signature)
    hints = get_type_hints(signature.__init__ if plain_class else signature)
    faults = []
    for name, value in values.items():
        kinds = get_args(hints[name]) if get_origin(hints.get(name)) in (Union, UnionType) else (hints.get(name),)
        if get_origin(kinds[0]) is Literal:
            if value not in get_args(kinds[0]):
                faults.append(str(unknown(name, str(value), get_args(kinds[0]))))
            continue
        plain = tuple(get_origin(kind) or kind for kind in kinds)
        if not all(isinstance(kind, type) for kind in plain):
            continue  # a user's own class may say more than is understood here
        fits = isinstance(value, bool) if bool in plain else False
        if not isinstance(value, bool):
            fits = isinstance(value, (*plain, int) if float in plain else plain)
        if fits and isinstance(value, tuple):
            fits = all(isinstance(part, str) for part in value)
        if not fits:
            wanted = " or ".join("none" if k is NoneType else _KINDS.get(k, k.__name__) for k in plain)
            faults.append(f"{name} is {value!r}; {wanted} was expected.")
    return faults


def is_comparison(values: Mapping[str, Any]) -> bool:
    """Whether the mapping in a YAML file is a comparison's, and not a single search's."""
    return "methods" in values or "data" in values


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        InputError: the file is missing, is not YAML, or holds no mapping.
    """
    import yaml  # only here: --help must not wait for it

    if not path.exists():
        raise InputError(f"configuration file {str(path)!r} does not exist.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"configuration {str(path)!r} cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        raise InputError(f"configuration {str(path)!r} is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict):
        raise InputError(f"configuration {str(path)!r} holds no mapping of settings.")
    return values

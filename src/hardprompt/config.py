"""Every setting of a classification run, validated before anything is loaded."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from hardprompt.errors import InputError, unknown
from hardprompt.tasks.template import Template
from hardprompt.vocabulary import Tokens

Precision = Literal["auto", "float32", "bfloat16", "float16"]
DEFAULT_METHOD = "pin-prior"
DEFAULT_MODEL = "embedded:smollm2"
DEFAULT_JUDGE = "embedded:gemma3"
_KINDS = {int: "a whole number", float: "a number", str: "a text", Mapping: "a mapping"}
_RANGES: dict[str, tuple[float, float]] = {
    "length": (1, 32),
    "evaluations": (1, 10**9),
    "seconds": (1e-3, 10**9),
    "shots": (1, 10**9),
    "seed": (0, 2**31 - 1),
    "threads": (1, 1024),
    "sharpness": (1e-3, 1e3),
    "validate_every": (1, 10**9),
    "save_every": (1, 10**9),
}


@dataclass(frozen=True)
class Config:
    """The settings of one run, as ``run.yaml`` holds them.

    Args:
        train: file of labelled texts.
        text: column of the texts.
        label: column of the classes.
        validation: file that chooses the prompt; a part of ``train`` when absent.
        test: file that is touched once, at the end; a part of ``train`` when absent.
        group: column whose rows stay in one split.
        shots: training examples of each class; None uses all that are left after validation and test.
        verbalizers: string that stands for each class; classes left out stand for themselves.
        template: with ``{text}`` and ``{prompt}``, and ``{mask}`` for a masked model.
        manual: the hand-written prompt that the result is compared with.
        method: of search.
        settings: of the method, where they differ from its own.
        policy_model: proposes prompts.
        task_model: is prompted.
        precision: of the rewards that a search learns from: ``float32``, ``bfloat16``, ``float16``, or ``auto``, half
            where the device computes it natively and the task model is large enough to gain by it. Validation and
            test are always in float32.
        judge: measures perplexity; when its package is absent the policy model does, and the result says so.
        sharpness: of the reward; 1 is the paper, higher is closer to accuracy (see ``Classification``).
        tokens: what a prompt is made of; None is the method's own.
        script: of the words.
        start: text that the policy model imagines before the prompt.
        length: tokens of a prompt.
        evaluations: budget in prompts scored.
        seconds: budget in seconds, or None.
        seed: of everything random.
        threads: of the CPU; None takes as many as help when the run starts.
        validate_every: steps between validations.
        save_every: steps between checkpoints.
    """

    train: str
    text: str
    label: str
    validation: str | None = None
    test: str | None = None
    group: str | None = None
    shots: int | None = None
    verbalizers: Mapping[str, str] = field(default_factory=dict)
    template: str = "{text}\n{prompt}"
    manual: str = "The sentiment is"
    method: str = DEFAULT_METHOD
    settings: Mapping[str, Any] = field(default_factory=dict)
    policy_model: str = DEFAULT_MODEL
    task_model: str = DEFAULT_MODEL
    precision: Precision = "auto"
    judge: str = DEFAULT_JUDGE
    sharpness: float = 8.0
    tokens: str | None = None
    script: str = "latin"
    start: str | None = None
    length: int = 5
    evaluations: int = 192
    seconds: float | None = None
    seed: int = 0
    threads: int | None = None
    validate_every: int = 6
    save_every: int = 5

    def check(self) -> None:
        """Raise one InputError that names every fault that can be seen without loading a model or the data."""
        faults = _faults(Config, vars(self))
        if faults:  # nothing below can be asked of values of the wrong kind
            raise InputError(" ".join(faults))
        faults += _range_faults(vars(self))
        if self.tokens is not None and self.tokens not in get_args(Tokens):
            faults.append(str(unknown("kind of tokens", self.tokens, get_args(Tokens))))
        for name in ("train", "validation", "test"):
            path = getattr(self, name)
            if path is not None and not Path(path).exists():
                faults.append(f"data file {path!r} does not exist.")
        for check in (lambda: Template(self.template), self._check_method):
            try:
                check()
            except InputError as error:
                faults.append(str(error))
        if faults:
            raise InputError(" ".join(faults))

    def _check_method(self) -> None:
        from hardprompt import optimizers  # only here: it brings in torch, which --help must not wait for

        accepted = optimizers.find(self.method).accepted()
        for name, value in self.settings.items():
            if name not in accepted:
                raise unknown(f"setting of method {self.method!r}", name, accepted)
            if name == "top_k" and isinstance(value, int) and value < 1:
                raise InputError(f"top_k is {value!r}; it must be a whole number of at least 1.")
            if name == "q" and isinstance(value, int | float) and not value >= 1:
                raise InputError(f"q is {value!r}; it must be a number of at least 1 (1 softmax, 2 sparsemax).")
            if name in ("alpha", "learning_rate") and isinstance(value, int | float) and not value > 0:
                raise InputError(f"{name} is {value!r}; it must be a number above 0.")
        faults = _faults(optimizers.find(self.method).build, self.settings)
        if faults:
            raise InputError(" ".join(faults))

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for YAML."""
        return {**dataclasses.asdict(self), "verbalizers": dict(self.verbalizers), "settings": dict(self.settings)}


def check_ranges(values: Mapping[str, Any]) -> None:
    """Raise an InputError that names every number outside its range."""
    faults = [*_faults(Config, values), *_range_faults(values)]
    if faults:
        raise InputError(" ".join(faults))


def _range_faults(values: Mapping[str, Any]) -> list[str]:
    faults = []
    for name, (low, high) in _RANGES.items():
        value = values.get(name)
        if isinstance(value, int | float) and not low <= value <= high:
            faults.append(f"{name} is {value!r}; it must be a number between {low:g} and {high:g}.")
    return faults


def _faults(signature: Any, values: Mapping[str, Any]) -> list[str]:
    """Values that are not of the kind that ``signature`` says; an int is good for a float, a bool for neither."""
    hints = get_type_hints(signature if isinstance(signature, type) and is_dataclass(signature) else signature.__init__)
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
        if not fits:
            wanted = " or ".join("none" if k is NoneType else _KINDS.get(k, k.__name__) for k in plain)
            faults.append(f"{name} is {value!r}; {wanted} was expected.")
    return faults


def from_dict(values: Mapping[str, Any]) -> Config:
    """Build a Config, naming every unknown or missing key.

    Raises:
        InputError: a key that is no setting, or train, text or label missing.
    """
    names = {f.name for f in dataclasses.fields(Config)}
    for key in values:
        if key not in names:
            raise unknown("setting", str(key), names)
    for name in ("train", "text", "label"):
        if not values.get(name):
            raise InputError(f"the configuration has no {name!r}; train, text and label are needed.")
    for name in ("verbalizers", "settings"):
        if not isinstance(values.get(name, {}), Mapping):
            raise InputError(f"{name} is {values[name]!r}; a mapping was expected.")
    verbalizers = {str(k): str(v) for k, v in values.get("verbalizers", {}).items()}
    return Config(**{**values, "verbalizers": verbalizers})


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        InputError: the file is missing, is not YAML, or holds no mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"configuration {str(path)!r} cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        raise InputError(f"configuration {str(path)!r} is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict):
        raise InputError(f"configuration {str(path)!r} holds no mapping of settings.")
    return values

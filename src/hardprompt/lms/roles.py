"""What a model is needed for, and which names can stand for such a model: told without loading anything."""

import json
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from hardprompt.errors import InputError, unknown
from hardprompt.lms.embedded import EMBEDDED
from hardprompt.lms.own import is_own
from hardprompt.lms.unasked import ADAPTER, adapted, check_parts

_SHOWN = 60  # letters of a name that is no path

KINDS = {
    "causal": "a causal language model",
    "masked": "a masked language model",
    "encoder": "a sentence encoder",
    "classifier": "a classifier of texts",
    "towers": "an image–text model",
    "pipeline": "a text-to-image pipeline",
}
"""What a model can be."""

INSIDE = {**{f"embedded:{name}": entry.kind for name, entry in EMBEDDED.items()}, "embedded:conse": "towers"}
"""The kind of each model that packages embed."""


@dataclass(frozen=True)
class Role:
    """What a model is needed for."""

    needs: str  # what it has to be, for messages
    kinds: frozenset[str]  # of ``KINDS``: those that do
    _: KW_ONLY
    own: bool = False  # whether a class of the user's may be it

    @property
    def embedded(self) -> list[str]:
        """The models inside packages that can be it."""
        return sorted(name for name, kind in INSIDE.items() if kind in self.kinds)

    @property
    def valid(self) -> str:
        """The names that can be given, as a sentence."""
        own = ["your own package.module:Name"] if self.own else []
        gguf = ["a .gguf file"] if "causal" in self.kinds else []
        return f"Valid: {', '.join([*self.embedded, 'a folder', *gguf, *own])} or a hub name."


ROLES = {
    "causal model": Role("a causal language model", frozenset({"causal"})),
    "task model": Role("a causal or masked language model", frozenset({"causal", "masked"}), own=True),
    "encoder": Role("a sentence encoder or a masked language model", frozenset({"encoder", "masked"})),
    "classifier": Role("a classifier of texts", frozenset({"classifier"})),
    "image model": Role("an image–text model (CLIP or SigLIP)", frozenset({"towers"}), own=True),
    "pipeline": Role("a text-to-image pipeline of diffusers", frozenset({"pipeline"})),
}
"""By the ``role`` that a setting has."""


def check_name(name: str, role: Role, what: str = "model") -> None:
    """Raise an InputError for a name that no model of that role can have, or of one that is not there.

    ``what`` is what it is to be, for messages. Of a folder only ``config.json`` is read.
    """
    if not name.strip():
        raise InputError(f"the {what}'s name is empty. {role.valid}")
    if name.startswith("openai:"):
        raise InputError(f"{what} {name!r}: models behind an API are not supported here; use a local model.")
    path = Path(name).expanduser()
    try:
        there, file, folder = path.exists(), path.is_file(), path.is_dir()
    except OSError as error:  # too long for a path, or one that may not be looked at
        shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…"
        raise InputError(f"{what} {shown!r} cannot be looked for ({error.strerror}). {role.valid}") from error
    if name.endswith(".gguf") and not file:
        raise InputError(f"model file {name!r} does not exist.")
    if name.startswith((".", "/", "~")) and not there:
        raise InputError(f"model folder {name!r} does not exist.")
    if name.startswith("embedded:"):
        _check_kind(name, _kind_inside(name, role), role, what)
    elif name.endswith(".gguf"):
        _check_kind(name, "causal", role, what)
    elif is_own(name):
        if not role.own:
            raise InputError(f"{what} {name!r} is your own; here {role.needs} of a library is needed. {role.valid}")
    elif folder:
        _check_folder(name, path, role, what)
    elif file:
        raise InputError(f"{what} {name!r} is a file; name the folder that it lies in, or a .gguf file.")
    elif ":" in name and not {"/", "\\"} & {*name}:  # no path, and no name that the hub could have
        raise unknown("model", name, role.embedded)


def _kind_inside(name: str, role: Role) -> str:
    if name not in INSIDE:
        names = role.embedded or INSIDE
        raise unknown("embedded model", name.removeprefix("embedded:"), (n.removeprefix("embedded:") for n in names))
    return INSIDE[name]


def _check_kind(name: str, kind: str, role: Role, what: str) -> None:
    if kind not in role.kinds:
        raise InputError(f"{what} {name!r} is {KINDS[kind]}; {role.needs} is needed here. {role.valid}")


def _check_folder(name: str, path: Path, role: Role, what: str) -> None:
    if (path / ADAPTER).is_file():
        raise adapted(name, what)
    file = "model_index.json" if "pipeline" in role.kinds else "config.json"
    try:
        found = json.loads((path / file).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{what} {name!r} is a folder without {file}: it holds no model. {role.valid}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{what} {name!r} cannot be read: its {file} is no JSON. {role.valid}") from error
    if not isinstance(found, dict):
        raise InputError(f"{what} {name!r} cannot be read: its {file} holds no settings. {role.valid}")
    if "pipeline" in role.kinds:
        check_parts(name, path, what)

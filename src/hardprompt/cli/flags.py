"""Settings as flags of the command line, and back."""

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any, NoReturn, get_args, get_origin, get_type_hints

from hardprompt.errors import InputError, unknown
from hardprompt.optimizers import FLAGS
from hardprompt.tasks.template import unescaped

if TYPE_CHECKING:
    from hardprompt.tasks.settings import Settings


class Parser(argparse.ArgumentParser):
    """argparse, with one clear line and the nearest valid choice where it would print its usage."""

    def error(self, message: str) -> NoReturn:
        """Raise an InputError instead of printing and leaving."""
        raise InputError(f"{message} (see: {self.prog} --help)")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise unknown("command" if action.dest == "command" else action.dest, str(value), map(str, action.choices))


def add_flags(sub: argparse.ArgumentParser, settings: "type[Settings]", *, whole: bool = True) -> None:
    """A flag for every field of the settings, and for the settings of methods that people turn.

    ``whole`` requires what a search needs, and adds what a command that runs one has.
    """
    hints = get_type_hints(settings)
    fields = dataclasses.fields(settings)
    inherited = len(dataclasses.fields(settings.__mro__[1]))
    task, search = sub.add_argument_group("the task"), sub.add_argument_group("the search")
    for field in (*fields[inherited:], *fields[:inherited]):  # what the task is about comes first
        group = search if field in fields[:inherited] else task
        meta = field.metadata
        if not meta:
            continue
        kinds = [k for k in (get_args(hints[field.name]) or (hints[field.name],)) if k is not NoneType]
        told = field.default not in (None, (), dataclasses.MISSING) and field.default is not False
        shown = f" ({_typed(field.default)})" if told else ""
        options: dict[str, Any] = {"help": (meta["help"] + shown).replace("%", "%%"), "default": argparse.SUPPRESS}
        if get_origin(hints[field.name]) in (tuple, Mapping):
            options |= {"nargs": "+"} if meta["positional"] else {"action": "append"}
        elif kinds == [bool]:
            options["action"] = "store_true"
        elif kinds[0] in (int, float):
            options["type"] = kinds[0]
        if meta["metavar"]:
            options["metavar"] = meta["metavar"]
        if meta["positional"]:
            some = {} if whole else {"nargs": "*" if "nargs" in options else "?"}
            group.add_argument(field.name, **{"metavar": field.name.upper(), **options, "default": None, **some})
            continue
        required = whole and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        flag = "--" + (meta["flag"] or field.name).replace("_", "-")
        group.add_argument(flag, dest=field.name, required=required, **options)
    method = sub.add_argument_group("the method")
    method.add_argument("--q", type=float, help="entropic index: 1 softmax, 2 sparsemax")
    method.add_argument("--alpha", type=float, help="temperature; the reward scale is 1/alpha")
    method.add_argument("--prior", type=float, metavar="BETA", help="weight of the language model's log-probability")
    method.add_argument("--top-k", type=int, metavar="K", help="tokens that the policy model may choose among")
    if not whole:
        return
    sub.add_argument("--out", metavar="FOLDER", help="run folder (runs/COMMAND-METHOD-SEED)")
    sub.add_argument("--dry-run", action="store_true", help="check everything, load no model, write nothing")


def add_compare_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of ``compare`` itself."""
    parser.add_argument(
        "what", metavar="FILE|TASK",
        help="YAML file of a comparison, run.yaml of a search, or a task and then its own arguments",
    )  # fmt: skip
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="hardprompt methods lists them")
    parser.add_argument(
        "--data", nargs="+", metavar="NAME", help="of the file's data sets, or of the papers', as sst-2"
    )
    parser.add_argument(
        "--splits", nargs="+", metavar="NAME", help="such as 16-100: 16 texts a class, drawn by seed 100"
    )
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="of the searches (0 1 2)")
    parser.add_argument("--models", metavar="NAME", help="which of the file's sets of models")
    parser.add_argument("--folder", metavar="FOLDER", help="where the data lie (else the papers' come from the hub)")
    parser.add_argument(
        "--test-rows", type=int, metavar="N", help="texts to test on at most (of the papers' data sets all)"
    )
    parser.add_argument("--reference", metavar="NAME", help="method that the others are tested against (the best)")
    parser.add_argument("--evaluations", type=int, metavar="N", help="budget of every search")
    parser.add_argument("--workers", type=int, metavar="N", help="searches side by side (as cores and memory allow)")
    parser.add_argument("--out", metavar="FOLDER", help="where everything is kept (runs/compare-FILE)")
    add_allow_code(parser)
    parser.add_argument("--dry-run", action="store_true", help="check every cell and count them, run nothing")


def add_allow_code(parser: argparse.ArgumentParser) -> None:
    """The flag of the commands that read a file of settings."""
    parser.add_argument(
        "--allow-code", action="store_true", help="trust the file: use the code, and the API's address, that it names"
    )


def _typed(value: Any) -> str:
    """A default as a person would type it."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) and not value.isprintable() else str(value)


def given(arguments: argparse.Namespace, settings: "type[Settings]") -> dict[str, Any]:
    """The settings that were typed."""
    fields = {field.name: field for field in dataclasses.fields(settings)}
    hints = get_type_hints(settings)
    values = {k: v for k, v in vars(arguments).items() if k in fields and fields[k].metadata}
    for name, value in values.items():
        if get_origin(hints[name]) is Mapping:
            values[name] = _pairs(value)
        elif fields[name].metadata["escapes"]:
            values[name] = unescaped(value)
    turned = {name: getattr(arguments, name) for name in FLAGS}
    return {**values, "settings": {k: v for k, v in turned.items() if v is not None}}


def _pairs(typed: Sequence[str]) -> dict[str, str]:
    """Verbalizers as they are typed."""
    verbalizers: dict[str, str] = {}
    for pair in typed:
        label, equals, word = pair.rpartition("=")
        bare = label.endswith("=")  # LABEL==WORD is the word without a space
        label = label.removesuffix("=")
        if not equals or not label or not word:
            raise InputError(f"verbalizer {pair!r} is not LABEL=WORD, such as positive=great.")
        if label in verbalizers:
            raise InputError(f"class {label!r} is given two verbalizers; give it one.")
        # The space at a word's beginning belongs to the word; typing it is easily forgotten.
        verbalizers[label] = word if bare or word[0].isspace() else f" {word}"
    return verbalizers

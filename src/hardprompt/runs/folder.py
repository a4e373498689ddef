"""A run folder: made, held by one process, read, and taken back where nothing came of it."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from hardprompt.errors import HardpromptError, InputError, is_broken, typed
from hardprompt.lms.revisions import check as check_revisions
from hardprompt.lms.revisions import current, pins
from hardprompt.runs.older import as_meant
from hardprompt.runs.steps import FILE as STEPS
from hardprompt.runs.versions import versions
from hardprompt.search.plugins import check_trusted
from hardprompt.search.writing import write_text
from hardprompt.tasks import Recipe
from hardprompt.tasks.foreign import foreign
from hardprompt.tasks.paths import anchored, with_paths
from hardprompt.tasks.places import HOME, PRINTS, check_files, fingerprints, found
from hardprompt.version import __version__

RUN = "run.yaml"
RESULT = "result.json"
_LOCK = ".lock"
REVISIONS = "revisions"
_RECORDED = (HOME, PRINTS, REVISIONS, "versions")  # beside the settings, in ``run.yaml``
COMPARISON = "compare.yaml"
_KINDS = (RUN, "demo.json", COMPARISON, RESULT)  # what makes a folder one of ours
_LARGEST = 100_000  # values in a file of settings: one that names itself, or parts again and again, has no end


def start(recipe: Recipe, out: Path) -> Recipe:
    """Make the run folder and write ``run.yaml``; returns the recipe as it is run from anywhere.

    Its paths are whole, its number of threads is the one that was chosen, and of each model the state is written down.

    Raises:
        InputError: the folder already holds something, or cannot be made.
    """
    make_folder(out, "run", RUN)
    from hardprompt.lms.placing import choose_threads  # which waits for torch

    values = with_paths(recipe.task, recipe.values, anchored)
    recipe = recipe.changed(**{**values, "threads": values["threads"] or choose_threads()})
    pinned = {name: commit for name, commit in pins(recipe.revisions).items() if name in recipe.loaded}
    recipe = recipe.pinned({**current(set(recipe.loaded) - pinned.keys()), **pinned})
    record = {
        **recipe.values, HOME: str(out.absolute()), PRINTS: fingerprints(recipe),
        REVISIONS: dict(recipe.revisions), "versions": versions(),
    }  # fmt: skip
    text = yaml.safe_dump(record, sort_keys=False, allow_unicode=True)
    write_text(
        out / RUN, f"# `hardprompt run` with this file repeats the run; `hardprompt resume` continues it.\n{text}"
    )
    return recipe


def make_folder(out: Path, kind: str, file: str) -> None:
    """Make the folder of a run or a comparison; raises as ``check_free``."""
    check_free(out, kind, file)
    out.mkdir(parents=True, exist_ok=True)


def check_free(out: Path, kind: str, file: str) -> None:
    """See that a run or a comparison, whose folder is one by its ``file``, can have this folder.

    Raises:
        InputError: the folder already holds something, or its name cannot be written down.
    """
    if is_broken(str(out.absolute())):
        raise InputError(f"folder {str(out.absolute())!r} has a name that is not UTF-8; name another.")
    if (out / file).exists():
        raise InputError(
            f"{str(out)!r} already holds a {kind}; continue it with: {resume_command(out)}, or name another."
        )
    # What begins with a dot may be what a killed start left behind.
    if out.exists() and (not out.is_dir() or any(path.name[0] != "." for path in out.iterdir())):
        raise InputError(f"{str(out)!r} exists and is not an empty folder; name another with --out.")


def resume_command(out: Path) -> str:
    """The command that goes on with what a folder holds, with the flag that it needs if there is code of a user's."""
    command = f"hardprompt resume {typed(out)}"
    for file in (out / RUN, out / COMPARISON):
        with contextlib.suppress(InputError):  # it is missing, or damaged
            if foreign(read_yaml(file)):
                return f"{command} --allow-code"
    return command


def discard(out: Path) -> None:
    """Take back what ``start`` wrote, unless the run has made a step worth keeping."""
    if not out.is_dir() or {path.name for path in out.iterdir()} - {RUN, STEPS, _LOCK}:
        return
    for name in (RUN, STEPS, _LOCK):
        (out / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # something else is in it by now
        out.rmdir()


def read_recipe(path: Path) -> Recipe:
    """The recipe in a YAML file of settings.

    Raises:
        InputError: the file holds no settings, or such as cannot be used or are not trusted.
    """
    values = read_settings(path)
    return Recipe.of(moved(values, path.parent)[0], revisions=pins(values.get(REVISIONS)))


def begun(out: Path) -> Recipe:
    """The recipe of a run that has begun in a folder, to go on with, wherever the folder is now.

    Raises:
        InputError: as ``read_recipe``; data or a model are gone or are not what they were, or another version of the
            program began.
    """
    check_links(out)
    values = read_settings(out / RUN)
    again = f"hardprompt run {typed(out / RUN)} --out NAME"
    check_version("run", out, _mapping(values, "versions").get("hardprompt"), again)
    known = {str(path): print_ for path, print_ in _mapping(values, PRINTS).items()}
    settings, places = moved(values, out, known)
    recorded = values.get(REVISIONS)
    check_revisions(recorded, again)
    recipe = Recipe.of(settings, revisions=recorded)
    check_files(recipe.files, places, known)
    return recipe


def moved(
    values: Mapping[str, Any], now: Path, known: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """The settings of a search in a file that may have moved, and where each path that stands there leads to.

    Raises:
        InputError: with ``known`` fingerprints, what one stands for is gone or has changed.
    """
    own = {name: value for name, value in values.items() if name not in _RECORDED}
    if not isinstance(values.get(HOME), str):  # a person wrote it
        return own, {}
    places: dict[str, str] = {}
    faults: dict[str, None] = {}

    def find(path: str, data: bool) -> str:
        try:
            places[path] = found(path, values[HOME], now, known, data=data)
        except InputError as error:
            faults[str(error)] = None
        return places.get(path, path)

    settings = with_paths(str(own.get("task", "classify")), own, find)
    if faults:
        raise InputError(" ".join(faults))
    return settings, places


def _mapping(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    own = values.get(name)
    return own if isinstance(own, dict) else {}


def check_version(kind: str, out: Path, by: str | None, again: str) -> None:
    """Raise an InputError where another version began what is in a folder; ``again`` is the command that repeats it."""
    if by != __version__:
        raise InputError(
            f"the {kind} in {str(out)!r} was begun by hardprompt {by or '0.1.0'}, and {__version__} cannot go on with "
            f"it; repeat it with: {again}"
        )


def check_links(out: Path) -> None:
    """Raise an InputError where a link in a folder would have us write outside of it, or read what is not its own."""
    home = out.resolve()
    for path in sorted(out.rglob("*")):
        if path.is_symlink() and not path.resolve().is_relative_to(home):
            raise InputError(f"{str(path)!r} is a link to what is not in {str(out)!r}; put a copy in its place.")


def read_settings(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file of settings that is to be used.

    Raises:
        InputError: as ``read_yaml``, or it asks for code that is not trusted, which is not imported.
    """
    values = read_yaml(path)
    check_trusted(str(path), foreign(values))
    return values


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        InputError: the file is missing, is not YAML, or holds no mapping.
    """
    if not path.exists():
        raise InputError(f"configuration file {str(path)!r} does not exist.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"configuration {str(path)!r} cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        raise InputError(f"configuration {str(path)!r} is not YAML: {' '.join(str(error).split())}.") from error
    except RecursionError as error:
        raise InputError(f"configuration {str(path)!r} is nested too deeply.") from error
    if not isinstance(values, dict):
        raise InputError(f"configuration {str(path)!r} holds no mapping of settings.")
    _check_values(path, values)
    return as_meant(values)


def read_result(folder: Path) -> dict[str, Any] | None:
    """``result.json`` of a run folder, or None when the run has not finished.

    Raises:
        InputError: the folder holds no run, or its result cannot be read.
    """
    if not folder.exists():
        raise InputError(f"{str(folder)!r} does not exist.")
    if folder.is_file():
        raise InputError(f"{str(folder)!r} is a file; name the run folder: {str(folder.parent)!r}.")
    if not any((folder / name).is_file() for name in _KINDS):
        raise InputError(f"{str(folder)!r} holds no run: it has no run.yaml.")
    path = folder / RESULT
    if not path.is_file():
        return None
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{str(path)!r} cannot be read: {error}.") from error
    if not isinstance(result, dict):
        raise InputError(f"{str(path)!r} is damaged: it holds no result.")
    check_trusted(str(path), foreign({"task": result.get("task")}))
    return result


@contextlib.contextmanager
def as_written(folder: Path) -> Iterator[None]:
    """Say of a folder that was edited by hand what is wrong with it.

    Raises:
        InputError: what is read inside is not what was written.
    """
    try:
        yield
    except HardpromptError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"the files in {str(folder)!r} are not as they were written ({said}).") from error


@contextlib.contextmanager
def alone(out: Path) -> Iterator[None]:
    """Hold a folder, so that no second process continues the same; the system lets go when we end.

    Raises:
        InputError: another process holds it.
    """
    try:
        held = FileLock(out / _LOCK).acquire(timeout=0)
    except Timeout as error:
        raise InputError(f"another process is working in {str(out)!r}; wait for it or stop it.") from error
    with held:
        yield


def _check_values(path: Path, values: Any) -> None:
    """Raise an InputError for more values than settings have, and for what is no text."""
    waiting, seen = [values], 0
    while waiting:
        value = waiting.pop()
        seen += 1
        if seen > _LARGEST:
            raise InputError(
                f"configuration {str(path)!r} is no file of settings: it has more than {_LARGEST:,} values."
            )
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and is_broken(value):
            raise InputError(f"configuration {str(path)!r} holds {value[:60]!r}, half of a character; mend it there.")

"""Where the data and the local models of a run lie: known by their content, and found again after a move."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from hardprompt.errors import InputError
from hardprompt.tasks import Recipe
from hardprompt.tasks.paths import with_paths

HOME = "folder_was"
"""Where a folder stood that a file of settings was written in: its paths are found again by it."""
PRINTS = "fingerprints"
"""Of data and models, by their paths, in ``run.yaml``."""
_WHOLE = 8 << 20  # bytes up to which a model's file is read whole; of a larger one
_SAMPLES, _SAMPLE = 32, 64 << 10  # so many samples of so many bytes


def fingerprints(recipe: Recipe) -> dict[str, str]:
    """The fingerprint of each file of data and of each local model, by its path."""
    prints = {path: _of_data(Path(path)) for path in recipe.files}

    def note(path: str, data: bool) -> str:
        if not data:
            prints[path] = _of_model(Path(path))
        return path

    with_paths(recipe.task, recipe.values, note)
    return prints


def found(path: str, home: str, now: Path, known: Mapping[str, str] | None, *, data: bool) -> str:
    """Where a path is that was written down in a folder that has moved: where it was, or as seen from the folder.

    Args:
        path: of data or of a model.
        home: the whole path of the folder then.
        now: the folder.
        known: fingerprints by path: of two places the right one is taken; None takes what is there, if anything is.
        data: whether it is one of data.

    Raises:
        InputError: it is in neither place, or has not its fingerprint; only with ``known``.
    """
    if not Path(path).is_absolute():
        return path
    places = list(dict.fromkeys([path, os.path.normpath(now.absolute() / os.path.relpath(path, home))]))
    there = [place for place in places if _fixed(place).exists()]
    kind = "data file" if data else "model"
    if known is None:
        return there[0] if there else path
    if not there:
        raise InputError(f"{kind} {path!r} is gone; it was looked for at {' and at '.join(map(repr, places))}.")
    parts = {key: print_ for key, print_ in known.items() if Path(key).is_relative_to(path)}
    changed = []
    for place in there:
        different = [inside for key, print_ in parts.items() if _print(inside := _in(place, key, path), data) != print_]
        if not different:
            return place
        changed += different
    raise InputError(f"{kind} {changed[0]!r} has changed since the run began, whose result would not be the same.")


def check_files(files: Sequence[str], places: Mapping[str, str], known: Mapping[str, str]) -> None:
    """Raise an InputError for a file of data that a run did not begin with, or that is another now.

    Args:
        files: that the run reads now.
        places: by the paths that were written down where they lead to, each the same as it was.
        known: fingerprints, by the paths that were written down.
    """
    seen = {_in(new, key, old) for old, new in places.items() for key in known if Path(key).is_relative_to(old)}
    for file in files:
        if file not in seen and file not in known:
            raise InputError(f"data file {file!r} was not there when the run began; start another run for it.")
        if file not in seen and _print(file, True) != known[file]:
            raise InputError(f"data file {file!r} has changed since the run began, whose result would not be the same.")


def _in(place: str, key: str, path: str) -> str:
    """What is called ``key`` where ``place`` is called ``path``."""
    inside = Path(key).relative_to(path)
    return str(Path(place) / inside)


def _fixed(path: str) -> Path:
    """The part of a path in which nothing stands for something else, as ``{split}`` does in a comparison's."""
    return Path(path) if "{" not in path else Path(path.partition("{")[0]).parent


def _print(path: str, data: bool) -> str | None:
    if not Path(path).exists():
        return None
    return _of_data(Path(path)) if data else _of_model(Path(path))


def _of_data(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _of_model(path: Path) -> str:
    """Of names, sizes and contents; of a large file samples are read, since its whole takes longer than the search."""
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    digest = hashlib.sha256()
    for file in files:
        inside = file.relative_to(path)
        if any(part.startswith(".") for part in inside.parts):  # what a hub's client or git keeps beside it
            continue
        size = file.stat().st_size
        digest.update(f"{inside} {size}\n".encode())
        with file.open("rb") as stream:
            if size <= _WHOLE:
                digest.update(stream.read())
                continue
            for number in range(_SAMPLES):
                stream.seek((size - _SAMPLE) * number // (_SAMPLES - 1))
                digest.update(stream.read(_SAMPLE))
    return digest.hexdigest()

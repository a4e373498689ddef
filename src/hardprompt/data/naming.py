"""What the files of a run are called in its tables and messages: by name, with folders where two have one name."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from hardprompt.data.tables import Row, Text

_Read = TypeVar("_Read", Row, Text)


def told_apart(paths: Iterable[str]) -> dict[str, str]:
    """Of each path its name, behind as many of its folders as no other file has with it."""
    parts = {path: Path(os.path.normpath(Path(path).absolute())).parts for path in paths}
    found = {}
    for path, own in parts.items():
        others = [other for other in parts.values() if other != own]
        length = next(n for n in range(1, len(own) + 1) if all(other[-n:] != own[-n:] for other in others))
        found[path] = Path(*own[-length:]).as_posix()
    return found


def by_file(read: Mapping[str, list[_Read]]) -> dict[str, list[_Read]]:
    """What was read, by path, each with a name of its file that is no other's."""
    names = told_apart(read)
    return {
        path: found if names[path] == Path(path).name else [replace(one, file=names[path]) for one in found]
        for path, found in read.items()
    }

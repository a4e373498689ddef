"""Which state of each model a run began with, so that it goes on with the same."""

import contextlib
import importlib.metadata
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hardprompt.errors import InputError
from hardprompt.lms import hub
from hardprompt.lms.embedded import EMBEDDED
from hardprompt.lms.image_text.packages import PACKAGES
from hardprompt.lms.own import is_own

_INSIDE = "embedded:"
_COMMIT = re.compile("[0-9a-f]{40}")


def current(names: Iterable[str]) -> dict[str, str]:
    """By the name of each model what there is of it now: the commit on the hub, or the versions of its packages.

    Folders, files and a user's own have none, and neither has what is not there: whoever loads it will say so.
    """
    found = {name: _versions(name) if name.startswith(_INSIDE) else _commit(name) for name in names}
    return {name: state for name, state in found.items() if state is not None}


def pins(recorded: Any) -> dict[str, str]:
    """The commits of models on the hub among what was written down.

    Raises:
        InputError: it is no mapping from names to such.
    """
    if not isinstance(recorded or {}, Mapping):
        raise InputError(f"revisions is {recorded!r}; a mapping from models to commits was expected.")
    found = {str(name): str(state) for name, state in (recorded or {}).items() if not str(name).startswith(_INSIDE)}
    for name, state in found.items():
        if not _COMMIT.fullmatch(state):
            raise InputError(f"the revision of {name!r} is {state!r}; a commit of 40 hexadecimal digits was expected.")
    return found


def check(recorded: Any, again: str) -> None:
    """Raise an InputError for a model that cannot be had as it was; ``again`` is the command that begins anew."""
    commits = pins(recorded)
    for name, state in (recorded or {}).items():
        if name in commits:
            if not _had(name, state):
                raise InputError(
                    f"the run began with commit {state} of the model {name!r}, which is not on this machine and cannot "
                    f"be had from the hub; a resumed run would not be the same. Begin anew, without its line under "
                    f"'revisions', with: {again}"
                )
        elif (now := _versions(name)) is not None and now != state:  # one that is missing is said when it is loaded
            raise InputError(
                f"the run began with the model {name!r} of {state}, and {now} is installed; a resumed run would not be "
                f"the same. Install that again, or begin anew with: {again}"
            )


def _versions(name: str) -> str | None:
    entry = EMBEDDED.get(name.removeprefix(_INSIDE))
    packages = PACKAGES if entry is None else (entry.package,)
    try:
        return ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit(name: str) -> str | None:
    if is_own(name) or name.endswith(".gguf") or Path(name).expanduser().exists():
        return None
    from huggingface_hub import HfApi

    if hub.answers():
        with contextlib.suppress(Exception):  # of any kind: the loader meets it again, and says it
            return HfApi().model_info(name).sha
    try:
        return Path(hub.downloaded(name)).name
    except (OSError, ValueError):
        return None


def _had(name: str, commit: str) -> bool:
    from huggingface_hub import HfApi

    try:
        return bool(hub.downloaded(name, commit))
    except (OSError, ValueError):
        if hub.answers():
            with contextlib.suppress(Exception):
                return bool(HfApi().model_info(name, revision=commit))
    return False

"""Where the files of a model lie: in a folder, or under one commit of its repository on the hub."""

import functools
import logging
import socket
import urllib.parse
import urllib.request
from pathlib import Path
from typing import NamedTuple

from hardprompt.lms.roles import Role

_LOG = logging.getLogger(__name__)


class Source(NamedTuple):
    """Where a model is loaded from, and what for."""

    name: str  # what the user calls it
    path: str  # a folder, or a name on the hub
    revision: str  # the commit there; of a folder it means nothing
    role: Role


def find(name: str, revision: str | None = None) -> tuple[str, str]:
    """A folder as it is, or a name on the hub; and the commit there, the newest where ``revision`` is None.

    Where the hub cannot be reached, it is the folder that an earlier download left of that commit.

    Raises:
        OSError: there is no such thing.
        ValueError: that cannot be a name on the hub.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(folder), "main"
    if answers():
        return name, revision or "main"
    return downloaded(name, revision), "main"


def downloaded(name: str, revision: str | None = None) -> str:
    """The folder of one commit that an earlier download left, which is called like the commit.

    Raises:
        OSError: there is none.
        ValueError: as ``find``.
    """
    from huggingface_hub import constants, snapshot_download

    try:  # a part of it may do: the loaders take a few files only
        return snapshot_download(name, revision=revision, local_files_only=True, allow_patterns="config.json")
    except FileNotFoundError as error:
        what = "it" if revision is None else f"its commit {revision}, which is asked for,"
        raise OSError(f"{what} is not on this machine, and {constants.ENDPOINT} cannot be reached") from error


@functools.cache
def there(name: str, revision: str | None = None) -> None:
    """See that ``find`` finds a model, and that the hub has it where it is asked; a library's import is not waited for.

    Raises:
        OSError: there is no such thing.
        ValueError: as ``find``.
    """
    path, _ = find(name, revision)
    if path != name or Path(name).expanduser().is_dir():
        return
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        HfApi().model_info(name, revision=revision)
    except RepositoryNotFoundError as error:
        raise OSError("the hub has no such model, or none for you") from error
    except Exception as error:  # of any kind: the loader meets it again, and may have what it needs already
        _LOG.debug("asking the hub for %s failed: %s", name, error)


@functools.cache
def answers() -> bool:
    """Whether the hub's name can be resolved: the loaders would try for half a minute to find that out."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        if not urllib.request.getproxies().keys() & {"https", "all"}:  # a proxy resolves names by itself
            socket.getaddrinfo(urllib.parse.urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True

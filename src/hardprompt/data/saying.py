"""Says what is to be known of a user's data: once, however often a run reads it."""

import logging
from pathlib import Path

_LOG = logging.getLogger(__name__)
_SAID: set[str] = set()


def say_once(message: str) -> None:
    """A warning, the first time that it is given in a process; it names the file, as typed or by its whole path."""
    plain = message.replace(f"{Path.cwd()}/", "")
    if plain not in _SAID:
        _SAID.add(plain)
        _LOG.warning("%s", message)

"""Says what is to be known of a user's data: once, however often a run reads it."""

import functools
import logging

_LOG = logging.getLogger(__name__)


@functools.cache
def say_once(message: str) -> None:
    """A warning, the first time that it is given in a process; it names the file."""
    _LOG.warning("%s", message)

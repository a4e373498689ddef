"""Keeps what transformers says while it loads out of what we say."""

from collections.abc import Iterator
from contextlib import contextmanager

from hardprompt.errors import HardpromptError, InputError


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, and errors only, while the block runs."""
    from transformers.utils import logging as transformers_logging

    shown = transformers_logging.is_progress_bar_enabled()
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if shown:
            transformers_logging.enable_progress_bar()


@contextmanager
def one_line(name: str, valid: str, failed: str = "could not be loaded", *, what: str = "model") -> Iterator[None]:
    """Turn a loader's errors, which run to pages, into one line about the model ``name`` and what is ``valid``."""
    try:
        yield
    except HardpromptError:
        raise
    except Exception as error:  # the files are anybody's, and a loader meets what is wrong with them as it comes
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise InputError(f"{what} {name!r} {failed}: {reason}. {valid}") from error

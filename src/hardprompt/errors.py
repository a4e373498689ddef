"""The errors that a user can mend: each message names the value, what was expected and the nearest valid choice."""

import difflib
import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

# Of Unicode, line breaks apart, and what changes the direction of a line.
_CONTROL = re.compile("[\0-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_END = r"""(?P<end>['"]?[.,;:)]*)(?=\s|$)"""
_URL = re.compile(r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]+:/{1,2})(?P<rest>\S+?)" + _END)
_QUERY = re.compile(r"\?[\w.~-]+=\S*?" + _END)


class HardpromptError(Exception):
    """Base of every error that hardprompt raises on purpose; a key in a URL that it speaks of is not shown."""

    def __init__(self, *said: object) -> None:
        super().__init__(*(without_keys(part) if isinstance(part, str) else part for part in said))


class InputError(HardpromptError, ValueError):
    """A value, file or setting that came from the user cannot be used."""


class MissingExtra(HardpromptError, ImportError):
    """An optional package is not installed; the message names the command that installs it."""


class RewardError(HardpromptError, RuntimeError):
    """A reward broke its contract: wrong length, not finite, or an exception of its own."""


def visible(text: str) -> str:
    """Text whose control characters can be seen: what somebody wrote into a file does not steer a terminal.

    Each is written as in JSON; line breaks stay.
    """
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def without_keys(text: str) -> str:
    """A text in which no URL has a login, a query or a fragment: any of these may be a secret."""

    def plain(found: "re.Match[str]") -> str:
        scheme, rest, end = found["scheme"], found["rest"], found["end"]
        kept = re.split("[?#]", rest, maxsplit=1)[0]
        cut = rest[len(kept) : len(kept) + 1]
        _, at, host = kept.rpartition("@")
        return f"{scheme}{'…@' if at else ''}{host}{cut and cut + '…'}{end}"

    # The queries alone are those of what a path, or a suffix, has left of a URL.
    return _QUERY.sub(r"?…\g<end>", _URL.sub(plain, text))


def typed(path: Path | str) -> str:
    """A path as one types it in a shell, whatever is in its name."""
    return shlex.quote(f"./{path}" if str(path).startswith("-") else str(path))


def pip_install(what: str) -> str:
    """The command that installs something for the Python that runs now, whatever is on the path of the shell."""
    return f"{typed(sys.executable)} -m pip install {what}"


def unknown(kind: str, value: str, valid: Iterable[str]) -> InputError:
    """Say that ``value`` is no ``kind``, offer the nearest valid name and list them all."""
    names = sorted(valid)
    near = difflib.get_close_matches(value, names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return InputError(f"unknown {kind} {value!r}.{hint} Valid: {', '.join(names) or 'none'}.")

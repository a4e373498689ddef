"""The errors that a user can mend: each message names the value, what was expected and the nearest valid choice."""

import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

# Of Unicode, line breaks apart, and what changes the direction of a line.
_CONTROL = re.compile("[\0-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_HALF = re.compile("[\ud800-\udfff]")
_END = r"""(?P<end>['"]?[.,;:)]*)(?=\s|$)"""
_URL = re.compile(r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]+:/{1,2})(?P<rest>\S+?)" + _END)
_QUERY = re.compile(r"\?[\w.~-]+=\S*?" + _END)
_EDITS = 2  # letters that a mistyped name has wrong
_PART = 3  # letters of a word that stands for a name
_LONGEST = 64  # letters of a name that is looked at letter by letter
_WORD = re.compile("[-. :]")


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


def is_broken(text: str) -> bool:
    """Whether it has half of a character, as a shell's argument that is not UTF-8 has: no file or model takes it."""
    return _HALF.search(text) is not None


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


def near(value: str, names: Iterable[str]) -> list[str]:
    """The names that somebody who wrote ``value`` may have meant, the nearest first: mistyped, or not written out.

    Mistyped is what differs in one letter, of six or more letters in two, and in case, ``-`` or ``_`` not at all. The
    beginning of a name stands for it, and a whole word of it, if it has three letters; a name is meant by more words.
    """

    def plain(text: str) -> str:
        return text.casefold().replace("_", "-")

    ranked, asked = [], plain(value)
    for name in dict.fromkeys(names):
        own = plain(name)
        shorter, longer = sorted((asked, own), key=len)
        longest = len(longer)
        part = len(shorter) >= _PART and (own.startswith(asked) or shorter in _WORD.split(longer))
        distance = _edits(asked, own) if abs(len(asked) - len(own)) <= _EDITS and longest <= _LONGEST else longest
        if asked == own or distance <= min(_EDITS, longest // 3) or part:
            ranked.append((min(distance, _EDITS + 1), not part, name))
    return [name for *_, name in sorted(ranked)]


def _edits(one: str, other: str) -> int:
    """How many letters are put in, left out, exchanged for another or swapped with the next.

    Source: optimal string alignment (Damerau 1964).
    """
    above: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, above, row = above, row, [i]
        for j, own in enumerate(other, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (letter != own)))
            if i > 1 < j and letter == other[j - 2] and own == one[i - 2]:
                row[j] = min(row[j], before[j - 2] + 1)
    return row[-1]


def unknown(kind: str, value: str, valid: Iterable[str]) -> InputError:
    """Say that ``value`` is no ``kind``, offer the nearest valid name and list them all."""
    names = sorted(valid)
    hint = f" Did you mean {found[0]!r}?" if (found := near(value, names)) else ""
    return InputError(f"unknown {kind} {value!r}.{hint} Valid: {', '.join(names) or 'none'}.")

"""Scripts by the Unicode names of their letters: latin, cyrillic, hangul, cjk."""

import functools
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable

from hardprompt.errors import InputError, near


def written_in(text: str, script: str) -> bool:
    """Whether the Unicode name of each letter begins with the script's."""
    return all(unicodedata.name(letter, "").startswith(script.upper()) for letter in text)


def scripts(texts: Iterable[str]) -> list[str]:
    """First words of the letters' Unicode names, the most frequent first."""
    names = (unicodedata.name(letter, "") for text in texts for letter in text if letter.isalpha())
    return [name for name, _ in Counter(name.split()[0].lower() for name in names if name).most_common()]


@functools.cache  # a comparison has many cells
def check_script(script: str) -> None:
    """Raise an InputError for what no name of a letter of Unicode begins with, as whole words."""
    letters = map(chr, range(sys.maxunicode + 1))
    if not any(written_in(letter, f"{script} ") for letter in letters if letter.isalpha()):
        found = near(script, scripts(map(chr, range(sys.maxunicode + 1))))
        hint = f" Did you mean {found[0]!r}?" if found else ""
        raise InputError(
            f"unknown script {script!r}.{hint} It is what the Unicode names of its letters begin with, such as latin, "
            "cyrillic, greek, arabic, hangul or cjk."
        )

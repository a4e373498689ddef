"""The words that a caption must have, and those that it must not have."""

import re
from collections.abc import Sequence

from hardprompt.errors import InputError


def check_words(before: str, require: Sequence[str], forbid: Sequence[str]) -> tuple[list[str], list[str]]:
    """The required and the forbidden words, each with single spaces; raises an InputError where they contradict."""
    for kind, words in (("required", require), ("forbidden", forbid)):
        if not all(word.strip() for word in words):
            raise InputError(f"a {kind} word is empty; give a word, or none.")
    required, forbidden = ([" ".join(word.split()) for word in words] for words in (require, forbid))
    for word in forbidden:
        if occurs(word, before):
            raise InputError(f"the forbidden word {word!r} is in the beginning {before!r} of every caption.")
        for other in required:
            if occurs(word, other):
                raise InputError(f"the word {word!r} is forbidden, and required in {other!r}; keep one of the two.")
    return required, forbidden


def occurs(word: str, text: str) -> bool:
    """Whether ``word`` stands in ``text`` with no letter, digit or underscore at either side."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None

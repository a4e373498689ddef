"""Templates: where the text, the prompt and the answer stand in what the task model reads."""

import functools
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hardprompt.errors import InputError, unknown

_LOG = logging.getLogger(__name__)

_SLOT = re.compile(r"\{([^{}]*)\}")
_SLOTS = ("text", "prompt", "mask")
_TYPED = re.compile(r"(\\\\|\\)([nt])")
_MEANT = {"n": "\n", "t": "\t"}


@dataclass(frozen=True)
class Template:
    """A string with the slots ``{text}`` and ``{prompt}``, each once, and at most one ``{mask}``.

    ``{mask}`` is where the answer stands; without it the answer follows the end. All else is read as it is.

    Raises:
        InputError: a slot missing, repeated or unknown.
    """

    source: str  # the string
    lead: str | None = None  # takes the prompt's slot for good; what is searched for then stands before everything

    def __post_init__(self) -> None:
        found = _SLOT.findall(self.source)
        for name in found:
            if name not in _SLOTS:
                raise unknown("template slot", "{" + name + "}", ["{" + s + "}" for s in _SLOTS])
        for name in ("text", "prompt"):
            if name not in found:
                raise InputError(f"template {self.source!r} has no {{{name}}}; it needs {{text}} and {{prompt}}.")
        for name in _SLOTS:
            if found.count(name) > 1:
                raise InputError(f"template {self.source!r} has {{{name}}} {found.count(name)} times; once is allowed.")

    @property
    def body(self) -> str:
        """The template with its answer slot explicit."""
        return self.source if "{mask}" in self.source else self.source + "{mask}"

    @property
    def shown(self) -> str:
        """The template as a person reads it, ``{prompt}`` where the searched prompt stands."""
        return self.source if self.lead is None else "{prompt}" + self.source.replace("{prompt}", self.lead)

    @property
    def spaced(self) -> bool:
        """Whether the prompt's first word needs a space of its own: something stands right before it."""
        if self.lead is not None:
            return False
        before = self.body.split("{prompt}")[0]
        return before != "" and not before[-1].isspace()

    def joined(self, prompt: str) -> str:
        """A prompt as a person writes it, with the space that the template needs before it."""
        return f" {prompt}" if self.spaced and not prompt.startswith(" ") else prompt

    def in_place(self, texts: Sequence[str], *, words: int) -> str:
        """What stands before the prompt around the text of median length, cut to so many words."""
        ordered = sorted(texts, key=lambda text: (len(text), text))
        return self.before_prompt(" ".join(ordered[len(ordered) // 2].split()[:words]))

    def fill(self, text: str, prompt: str) -> tuple[str, str]:
        """What stands before the answer, and what stands after it."""
        before, after = self._parted("mask", {"text": text, "prompt": prompt if self.lead is None else self.lead})
        return (before, after) if self.lead is None else (prompt + before, after)

    def before_prompt(self, text: str) -> str:
        """What stands before the prompt: the part that is the same for every prompt; nothing behind the answer."""
        left, _ = self.sides(text, "")
        return left if self.prompt_first else self.fill(text, "")[0]

    def sides(self, text: str, blank: str) -> tuple[str, str]:
        """What stands before the prompt's place and what behind it, ``blank`` in the answer's place."""
        if self.lead is not None:
            return "", blank.join(self.fill(text, ""))
        return self._parted("prompt", {"text": text, "mask": blank})

    @property
    def prompt_first(self) -> bool:
        """Whether the prompt stands before the answer."""
        return self.lead is not None or self.body.index("{prompt}") < self.body.index("{mask}")

    def _parted(self, slot: str, filled: Mapping[str, str]) -> tuple[str, str]:
        """What stands before and behind a slot, the others filled."""
        parts = _SLOT.split(self.body)
        # A text may itself contain braces, so slots are filled piece by piece, never by repeated replacement.
        pieces = [filled.get(part, part) if i % 2 else part for i, part in enumerate(parts)]
        at = 2 * parts[1::2].index(slot) + 1  # among the slots only: the word may stand in the template too
        return "".join(pieces[:at]), "".join(pieces[at + 1 :])


def unescaped(source: str) -> str:
    r"""A template as it is meant that was typed on a command line: ``\n`` is a line break, ``\t`` a tab.

    With one more backslash before it, it is a backslash and the letter.
    """
    return _TYPED.sub(lambda found: _MEANT[found[2]] if len(found[1]) == 1 else f"\\{found[2]}", source)


def check_template(source: str) -> Template:
    """The template in a file of settings or on a command line; warns where it has what looks like an escape."""
    if re.search(r"\\[nt]", source):
        _escape_left(source)
    return Template(source)


@functools.cache  # a comparison has many cells
def _escape_left(source: str) -> None:
    _LOG.warning(
        "the template %r has a backslash before a letter, which the model reads so; in YAML a line break is \\n "
        'between double quotation marks: "Review: {text}\\n{prompt}".', source,
    )  # fmt: skip

"""Templates: where the text, the prompt and the answer stand in what the task model reads."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hardprompt.errors import InputError, unknown

_SLOT = re.compile(r"\{([^{}]*)\}")
_SLOTS = ("text", "prompt", "mask")


@dataclass(frozen=True)
class Template:
    r"""A string with the slots ``{text}`` and ``{prompt}``, each once, and at most one ``{mask}``.

    ``{mask}`` is where the answer stands; without it the answer follows the end. ``\n`` and ``\t`` typed on a
    command line mean a line break and a tab.

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
        """The template with its escapes resolved and its answer slot explicit."""
        source = self.source.replace("\\n", "\n").replace("\\t", "\t")
        return source if "{mask}" in source else source + "{mask}"

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
        parts = _SLOT.split(self.body)
        filled = {"text": text, "prompt": prompt if self.lead is None else self.lead}
        # A text may itself contain braces, so slots are filled piece by piece, never by repeated replacement.
        pieces = [filled.get(part, part) if i % 2 else part for i, part in enumerate(parts)]
        at = 2 * parts[1::2].index("mask") + 1  # among the slots only: the word may stand in the template too
        before, after = "".join(pieces[:at]), "".join(pieces[at + 1 :])
        return (before, after) if self.lead is None else (prompt + before, after)

    def before_prompt(self, text: str) -> str:
        """What stands before the prompt: the part that is the same for every prompt."""
        return self.fill(text, "\0")[0].split("\0")[0]

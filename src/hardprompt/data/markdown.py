"""Text of a user's or a model's inside Markdown: shown as it is, whatever stands in it."""

import re
from urllib.parse import quote


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_\[\]<>|~#&$])", r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """Text as code within a line."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    if not text:
        return "(empty)"
    fence = "`" * (1 + _longest(text))
    # Markdown takes a space from both ends where both have one.
    space = " " if "`" in (text[0], text[-1]) or (text[0] == text[-1] == " " and text.strip()) else ""
    return f"{fence}{space}{text}{space}{fence}"


def code_cell(text: str) -> str:
    """Text as code within a cell of a table, where a bar has an escape, in code too."""
    return code(text).replace("|", r"\|")


def link(name: str, path: str) -> str:
    """A link to a path from where the page lies."""
    return f"[{plain(name)}]({quote(path)})"


def block(text: str) -> str:
    """Text as a block of code that nothing in it can end."""
    fence = "`" * max(3, 1 + _longest(text))
    return f"{fence}\n{text}\n{fence}"


def _longest(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)

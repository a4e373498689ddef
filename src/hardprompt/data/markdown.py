"""Text of a user's or a model's inside Markdown: shown as it is, whatever stands in it."""

import re


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_\[\]<>|~#&$])", r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """Text as code within a line, also of a table."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    fence = "`" * (1 + _longest(text))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}".replace("|", r"\|")  # a table's own escape, which holds in code, too


def block(text: str) -> str:
    """Text as a block of code that nothing in it can end."""
    fence = "`" * max(3, 1 + _longest(text))
    return f"{fence}\n{text}\n{fence}"


def _longest(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)

"""Every generated table of the documents is what its JSON says."""

import json
import re
from pathlib import Path

import pages
import pytest

DOCS = Path(__file__).parents[2] / "docs"


def marked() -> list[tuple[str, str]]:
    found = [
        (page, re.findall("<!-- (.+): begin -->", page.read_text(encoding="utf-8")))
        for page in sorted(DOCS.glob("*.md"))
    ]
    return [(page.name, mark) for page, marks in found for mark in marks]


@pytest.mark.parametrize(("page", "mark"), marked())
def test_a_table_is_what_its_values_give(page: str, mark: str) -> None:
    source, make = pages.TABLES[page, mark]
    assert pages.between(DOCS / page, mark) == make(json.loads((DOCS / source).read_text(encoding="utf-8"))).strip()


def test_every_table_has_its_mark() -> None:
    assert sorted(pages.TABLES) == sorted(marked())

"""Every generated table of the documents is what its JSON says."""

import importlib
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("pages")


def marked() -> list[tuple[str, str]]:
    found = [
        (page, re.findall("<!-- (.+): begin -->", page.read_text(encoding="utf-8")))
        for page in sorted(DOCS.glob("*.md"))
    ]
    return [(page.name, mark) for page, marks in found for mark in marks]


@pytest.mark.parametrize(("page", "mark"), marked())
def test_a_table_is_what_its_values_give(pages: ModuleType, page: str, mark: str) -> None:
    source, make = pages.TABLES[page, mark]
    assert pages.between(DOCS / page, mark) == make(json.loads((DOCS / source).read_text(encoding="utf-8"))).strip()


def test_every_table_has_its_mark(pages: ModuleType) -> None:
    assert sorted(pages.TABLES) == sorted(marked())

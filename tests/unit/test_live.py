"""The lines on standard error come also when nothing happens for long, and their time left only shrinks."""

import itertools
import re
import time

import pytest

from hardprompt.cli import live
from hardprompt.search.forecast import Expected, Forecast


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_PLAIN_SECONDS", 0.02)
    monkeypatch.setattr(live, "_BEAT", 0.005)


def test_a_search_that_waits_says_for_what_and_for_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    told = Forecast()
    line = live.LiveLine("pin", told)
    with line.shown():
        line.note("loading the model")
        time.sleep(0.15)
        told.begin(Expected({"search": 60.0, "validation": 30.0, "test": 30.0}, 1.0, search=100, test=100))
        told.scored("test", 40, 100)
        time.sleep(0.15)
    lines = capsys.readouterr().err.splitlines()
    assert lines.count("pin: loading the model") >= 2
    tested = [line for line in lines if "testing, 40 of 100 scores" in line]
    assert len(tested) >= 2
    left = [int(m) * 60 + int(s) for line in lines for m, s in re.findall(r"(\d+):(\d\d) left", line)]
    assert left
    assert all(later <= earlier for earlier, later in itertools.pairwise(left))


def test_a_comparison_whose_cells_take_long_goes_on_talking(capsys: pytest.CaptureFixture[str]) -> None:
    line = live.CountLine("compare", "cells", done=1, total=4)
    with line.shown():
        time.sleep(0.1)
        line("first", None)
        time.sleep(0.1)
        line("second", "no memory")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("compare: 1 of 4 cells")
    assert sum(line.startswith("compare: 1 of 4 cells") for line in lines) >= 3
    assert sum(line.startswith("compare: 2 of 4 cells") for line in lines) >= 3
    assert "second failed: no memory" in lines
    assert lines[-1].startswith("compare: 2 of 4 cells, 1 failed")

"""What the command line writes: any text, as it is, on a stream of any encoding, and nothing that steers a terminal."""

import ast
import io
import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

import hardprompt.cli
from hardprompt.cli import live
from hardprompt.cli.main import main
from hardprompt.cli.show import standard_output
from hardprompt.compare import folder as folders
from hardprompt.compare.cells import record
from hardprompt.compare.plan import Plan
from hardprompt.tasks.tables import table

EVIL = "\x1b[2J\x9b2J\u202e"
SHOWN = "\\u001b[2J\\u009b2J\\u202e"


@pytest.fixture
def strange(tmp_path: Path) -> list[str]:
    """The arguments of a classification on a file with a strange name and a small class of such a name."""
    path = tmp_path / f"{EVIL}.csv"
    rows = "".join(f"a text of {i},{i % 2}\n" for i in range(700))
    path.write_text(f"t,l\n{rows}one more,{EVIL}\n", encoding="utf-8")
    return [str(path), "--text", "t", "--label", "l", "--template", f"{{text}}{EVIL}{{prompt}}"]


def test_one_module_alone_writes_lines() -> None:
    """The others go through it, and so through what makes a line harmless."""
    folder = Path(hardprompt.cli.__file__).parent
    for path in sorted(set(folder.glob("*.py")) - {folder / "streams.py"}):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        assert not [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"], path


@pytest.mark.parametrize("command", [["classify"], ["compare", "classify"]])
def test_a_dry_run_and_its_warnings_do_not_steer_the_terminal(
    command: list[str], strange: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # those of pytest
    own = ["--methods", "manual", "--seeds", "0"] if "compare" in command else ["--evaluations", "9"]
    flags = ["--drop-small-classes", "--dry-run", "--out", f"o{EVIL}", *own]
    assert main([*command, *strange, *flags]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["out"] == f"o{EVIL}"
    assert SHOWN in said.out
    for line in ("as too small: the classes", "rows are left out"):
        assert any(line in one and SHOWN in one for one in said.err.splitlines())
    assert not set(EVIL[::4]) & set(said.out + said.err)


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_an_unfinished_comparison_does_not_steer_the_terminal(
    flags: list[str], strange: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Plan.of_search("classify", {"train": strange[0], "text": "t", "label": "l", "drop_small_classes": True})
    out = tmp_path / "cmp"
    plan = folders.start(plan.narrowed(methods=["manual"], seeds=[0]), out)
    record(plan.cells(out)[0], f"{EVIL} failed", "")
    assert main(["show", str(out), *flags]) == 0
    said = capsys.readouterr()
    assert f"{SHOWN} failed" in said.out
    assert not {"\x1b", "\x9b", "\u202e"} & set(said.out + said.err)


def test_live_lines_do_not_steer_the_terminal_and_show_the_text_itself(capsys: pytest.CaptureFixture[str]) -> None:
    line = live.CountLine("compare", "cells", done=0, total=1)
    with line.shown():
        line("a [bold]:100:", EVIL)
    said = capsys.readouterr().err
    assert f"a [bold]:100: failed: {SHOWN}" in said
    assert "1 failed" in said


def test_a_moving_line_shows_the_text_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    line = live.CountLine("compare", "cells", done=0, total=1)
    with line.shown():
        line("[bold]:100:\x1b]0;title\x07", None)
    assert "[bold]:100:\\u001b]0;title\\u0007" in screen.getvalue()


def test_tables_show_the_text_itself(capsys: pytest.CaptureFixture[str]) -> None:
    listing = table(":heart:", (":100: [b]",), ())
    listing.add_row("rate :100: it [i]")
    screen = standard_output()
    screen.print(listing)
    screen.print(":heart: [b]")
    said = capsys.readouterr().out
    assert said.count(":heart:") == 2
    assert ":100: [b]" in said
    assert "rate :100: it [i]" in said


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_any_text_can_be_written_whatever_the_encoding(
    encoding: str, strange: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    template = "é 日本 😀 {text}{prompt}"
    assert main(["classify", *strange[:5], "--template", template, "--drop-small-classes", "--dry-run", "--json"]) == 0
    screen = standard_output()
    screen.print(template)
    stream.flush()
    written = stream.buffer.getvalue().decode(encoding).splitlines()
    assert json.loads(written[0])["template"] == template
    assert written[1] == template.encode(encoding, "backslashreplace").decode(encoding)

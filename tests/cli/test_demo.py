"""The demonstration's plumbing on the tiny model; its real run is `make demo`."""

import functools
import json
import shutil
from pathlib import Path

import pytest

from hardprompt.cli import demo, run
from hardprompt.cli.main import main
from hardprompt.data import films
from hardprompt.errors import InputError
from hardprompt.lms import placing


@pytest.fixture
def tiny_demo(monkeypatch: pytest.MonkeyPatch, tiny_folder: Path) -> None:
    real, model = demo.recipe, str(tiny_folder)
    tiny = {"policy_model": model, "task_model": model, "judge": model, "length": 2, "template": "{text}{prompt}"}
    monkeypatch.setattr(demo, "recipe", lambda *args, **kwargs: real(*args, **kwargs).changed(**tiny))
    monkeypatch.setattr(films, "TRAIN", 8)
    monkeypatch.setattr(films, "VALIDATION", 8)
    monkeypatch.setattr(demo, "write_data", functools.partial(films.write_data, test=12))


def test_it_compares_four_prompts_stores_the_table_and_does_not_run_twice(
    tiny_demo: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    command = ["demo", "--out", str(out), "--evaluations", "32", "--threads", "1", "--json"]
    assert main(command) == 0
    result = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in result["baselines"]] == ["empty", "manual", "best-of-n"]
    assert result["method"] == "pin-prior"
    assert result["baselines"][2]["evaluations"] == result["evaluations"] == 32
    assert {row["test"]["n"] for row in [result, *result["baselines"]]} == {12}
    assert json.loads((out / "result.json").read_text()) == result
    written = {p: p.stat().st_mtime_ns for p in out.rglob("*/result.json")}
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out) == result
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*/result.json")} == written
    assert main(["show", str(out)]) == 0
    assert "best-of-n" in capsys.readouterr().out
    assert main(["resume", str(out), "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == result
    assert f"{out} has finished" in shown.err


def test_it_goes_on_where_it_was_moved_to(
    tiny_demo: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = tmp_path / "whole"
    flags = ["--evaluations", "32", "--threads", "1", "--json"]
    assert main(["demo", "--out", str(whole), *flags]) == 0
    wanted = json.loads(capsys.readouterr().out)
    out = tmp_path / "old" / "demo"
    out.mkdir(parents=True)
    shutil.copytree(whole / "data", out / "data")
    shutil.copy(whole / "demo.json", out)
    run.start(demo.recipes(out, demo.read_plan(out))[0], out / "best-of-n")
    (tmp_path / "old").rename(tmp_path / "new")
    monkeypatch.chdir("/")
    assert main(["resume", str(tmp_path / "new" / "demo"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    for row in (result, wanted, *result["baselines"], *wanted["baselines"]):
        row.pop("seconds", None)
    assert result == wanted


def test_another_demonstration_is_not_overwritten(
    tiny_demo: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo.plan(tmp_path / "demo", evaluations=32, seed=0, threads=1)
    assert main(["demo", "--out", str(tmp_path / "demo"), "--seed", "1"]) == 2
    assert "other settings" in capsys.readouterr().err


def test_what_is_left_to_the_machine_is_decided_once(
    tiny_demo: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = demo.plan(tmp_path / "demo", evaluations=None, seed=0, threads=None)
    assert first["threads"] >= 1
    assert first["evaluations"] in (demo.EVALUATIONS, demo.HALF_EVALUATIONS)
    monkeypatch.setattr(placing, "choose_threads", lambda: 77)
    monkeypatch.setattr(demo, "_affordable", lambda: 5)
    assert demo.plan(tmp_path / "demo", evaluations=None, seed=0, threads=None) == first
    with pytest.raises(InputError, match="other settings"):
        demo.plan(tmp_path / "demo", evaluations=32, seed=0, threads=None)

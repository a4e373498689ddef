"""A task in a user's own module runs with every feature: no file of the program knows of it."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hardprompt.cli.main import main

from .test_resume import stopped_after

ROOT = Path(__file__).parents[2]
SHORT = {"length": 3, "evaluations": 48, "threads": 1, "save_every": 1}


@pytest.fixture
def config(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A YAML file of the example's task, run where the user stands, on the tiny model."""
    (tmp_path / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "pangram.py", tmp_path / "examples")
    with (tmp_path / "examples" / "pangram.py").open("a", encoding="utf-8") as stream:
        stream.write("\n\nclass Bare(Settings):\n    task = 'examples.pangram:Bare'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str = "own.yaml", **changes: Any) -> str:
        values = yaml.safe_load((ROOT / "examples" / "pangram.yaml").read_text(encoding="utf-8"))
        models = {"policy_model": str(tiny_folder), "judge": str(tiny_folder)}
        Path(name).write_text(yaml.safe_dump({**values, **models, **SHORT, **changes}), encoding="utf-8")
        return name

    return write


def test_it_runs_and_shows_its_own_table(config: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", config(), "--out", "run", "--allow-code"]) == 0
    assert "Letters used" in capsys.readouterr().out
    assert main(["show", "run", "--json", "--allow-code"]) == 0
    result = json.loads(capsys.readouterr().out)
    letters = {c for c in result["prompt"].lower() if c.isalpha()}
    assert result["test"]["share"] == pytest.approx(len(letters & set("abcdefghijklmnopqrstuvwxyz")) / 26)
    assert result["evaluations"] == 48
    assert result["baselines"][0]["test"]["share"] == pytest.approx(15 / 26)
    assert "of them" in Path("run/README.md").read_text(encoding="utf-8")


def test_it_resumes_to_the_same_result(
    config: Callable[..., str], environment: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = config(evaluations=480)
    assert main(["run", file, "--out", "whole", "--json", "--allow-code"]) == 0
    whole = json.loads(capsys.readouterr().out)
    env = {**environment, "PYTHONPATH": os.pathsep.join([str(tmp_path), environment.get("PYTHONPATH", "")])}
    stopped_after(["run", file, "--out", "killed", "--allow-code"], Path("killed"), 4, signal.SIGKILL, env)
    assert main(["resume", "killed", "--json", "--allow-code"]) == 0
    again = json.loads(capsys.readouterr().out)
    for result in (whole, again):
        result.pop("seconds")
    assert again == whole


def test_methods_are_compared_on_it(config: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "compare",
        config(),
        "--methods",
        "manual",
        "random",
        "pin",
        "--seeds",
        "0",
        "--workers",
        "1",
        "--json",
        "--allow-code",
    ]
    assert main([*command, "--out", "all"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["compared"] == "examples.pangram:Pangram"
    assert result["cells"] == {"finished": 3, "failed": {}, "of": 3}
    assert result["summary"]["headline"] == "share"
    assert main(["show", "all", "--allow-code"]) == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "gcg"}, "method 'gcg' needs the gradient of a loss: letters have none."),
        ({"letter": "a"}, "unknown setting 'letter'. Did you mean 'letters'?"),
        ({"letters": 3}, "letters is 3; a text was expected."),
        ({"task": "examples.pangram:Pangrams"}, "unknown name in examples.pangram 'Pangrams'. Did you mean 'Pangram'?"),
        ({"task": "examples.pangram:PangramTask"}, "is no class of settings"),
        (
            {"task": "examples.pangram:Bare"},
            "task 'examples.pangram:Bare' has no 'load'; give its class load(), figure and table.",
        ),
        ({"task": "pangram"}, "unknown task 'pangram'. Valid: classify, invert, optimize, restyle"),
    ],
)
def test_what_is_wrong_with_it_is_one_line_before_a_model_is_loaded(
    config: Callable[..., str], changes: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", config(**changes), "--out", "run", "--allow-code"]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert not Path("run").exists()

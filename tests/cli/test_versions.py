"""What an earlier version of the program began is refused in one line that names it; what it finished is shown."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from hardprompt.cli.main import main
from hardprompt.version import __version__

Arguments = Callable[..., list[str]]


def aged(file: Path, **changes: object) -> None:
    """Make a YAML file of ours an earlier version's; a key that becomes None goes."""
    values = {**yaml.safe_load(file.read_text(encoding="utf-8")), **changes}
    file.write_text(yaml.safe_dump({k: v for k, v in values.items() if v is not None}), encoding="utf-8")


@pytest.mark.parametrize("versions", [{"hardprompt": "0.1.0"}, None])
def test_a_run(
    arguments: Arguments, tmp_path: Path, capsys: pytest.CaptureFixture[str], versions: dict[str, str] | None
) -> None:
    assert main(arguments(evaluations=16)) == 0
    run = tmp_path / "run"
    aged(run / "run.yaml", versions=versions)
    capsys.readouterr()
    assert main(["show", str(run)]) == 0
    assert main(["resume", str(run)]) == 0  # it has finished
    (run / "result.json").unlink()
    capsys.readouterr()
    assert main(["resume", str(run)]) == 2
    said = capsys.readouterr().err
    assert f"was begun by hardprompt 0.1.0, and {__version__} cannot go on with it; repeat it with:" in said
    assert said.count("\n") == 1
    assert main(["run", str(run / "run.yaml"), "--out", str(tmp_path / "again")]) == 0


def test_a_comparison(arguments: Arguments, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = [part for part in arguments(out="all", evaluations=16) if part]
    command = ["compare", *typed, "--methods", "manual", "random", "--seeds", "0", "--workers", "1"]
    assert main(command) == 0
    out = tmp_path / "all"
    aged(out / "compare.yaml", version=None)
    capsys.readouterr()
    assert main(["show", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == "compare"
    (out / "result.json").unlink()  # a finished one is shown
    assert main(["resume", str(out)]) == 2
    said = capsys.readouterr().err
    assert "the comparison in" in said
    assert "was begun by hardprompt 0.1.0" in said
    again = ["compare", str(out / "compare.yaml"), "--out", str(tmp_path / "again"), "--dry-run"]
    assert main(again) == 0

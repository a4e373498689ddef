"""A run that is killed or interrupted ends as if it had never stopped."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import comparable

Arguments = Callable[..., list[str]]
Hardprompt = Callable[..., "subprocess.CompletedProcess[str]"]


def stopped_after(
    arguments: list[str], folder: Path, steps: int, how: signal.Signals, env: dict[str, str]
) -> tuple[int, str]:
    """Start a run, send a signal once it has made so many steps, and return exit code and standard error."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hardprompt.cli", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, env=env,
    )  # fmt: skip
    log = folder / "steps.jsonl"
    while process.poll() is None and (not log.exists() or log.read_text().count("\n") < steps):
        time.sleep(0.01)
    process.send_signal(how)
    _, said = process.communicate()
    return process.returncode, said


@pytest.fixture
def whole(arguments: Arguments, hardprompt: Hardprompt, tmp_path: Path) -> dict[str, Any]:
    done = hardprompt(*arguments("whole", evaluations=400))
    assert done.returncode == 0, done.stderr
    return comparable(tmp_path / "whole")


def test_a_run_killed_at_several_points_resumes_to_the_same_bits(
    arguments: Arguments, hardprompt: Hardprompt, environment: dict[str, str], tmp_path: Path, whole: dict[str, Any]
) -> None:
    out = tmp_path / "killed"
    code, _ = stopped_after(arguments("killed", evaluations=400), out, 3, signal.SIGKILL, environment)
    assert code == -signal.SIGKILL
    for steps in (9, 17):
        code, _ = stopped_after(["resume", str(out)], out, steps, signal.SIGKILL, environment)
        assert code == -signal.SIGKILL
    assert not (out / "result.json").exists()
    done = hardprompt("resume", str(out))
    assert done.returncode == 0, done.stderr
    again = comparable(out)
    assert again["result"] == whole["result"]
    assert again["steps"] == whole["steps"]
    assert again["state"] == whole["state"]
    assert again["tensors"] == whole["tensors"]


def test_ctrl_c_saves_and_names_the_command_that_resumes(
    arguments: Arguments, hardprompt: Hardprompt, environment: dict[str, str], tmp_path: Path, whole: dict[str, Any]
) -> None:
    out = tmp_path / "stopped"
    code, said = stopped_after(arguments("stopped", evaluations=400), out, 7, signal.SIGINT, environment)
    assert code == 130
    assert f"hardprompt resume {out}" in said
    assert "Traceback" not in said
    done = hardprompt("resume", str(out))
    assert done.returncode == 0, done.stderr
    again = comparable(out)
    assert again["result"] == whole["result"]
    assert again["tensors"] == whole["tensors"]


def test_changed_data_is_not_resumed(
    arguments: Arguments, hardprompt: Hardprompt, environment: dict[str, str], data_file: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.csv"
    copy.write_text(data_file.read_text())
    args = [str(copy) if a == str(data_file) else a for a in arguments("changed", evaluations=400)]
    stopped_after(args, tmp_path / "changed", 1, signal.SIGKILL, environment)
    copy.write_text(data_file.read_text().replace("film", "song"))
    done = hardprompt("resume", str(tmp_path / "changed"))
    assert done.returncode == 2
    assert "has changed" in done.stderr

"""A run that is stopped in its search, its validation or its test goes on there, and scores nothing twice."""

import csv
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hardprompt.cli.main import main
from hardprompt.search import work
from hardprompt.search.files import digest

from ..watched import Watched
from .conftest import comparable

ROOT = Path(__file__).parents[2]
GROUP = 300  # characters: a text with the 16 prompts of a step, or some with those that are validated or tested,
PAIRS = 32  # and no more pairs than this
PARTS = {"train": 12, "validation": 20, "test": 28}  # texts, which are numbered and name their part


@pytest.fixture
def command(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """A run on the watched model, whose groups are small and are saved as they are made."""
    for part, count in PARTS.items():
        with (tmp_path / f"{part}.csv").open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows(
                [("text", "label"), *((f"{part}-{i} text", "good" if i % 2 else "bad") for i in range(count))]
            )
    monkeypatch.setattr(work, "_CHARACTERS", GROUP)
    monkeypatch.setattr(work, "_SECONDS", -1.0)
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    monkeypatch.setenv("BY", "SIGINT")
    files = {"validation": tmp_path / "validation.csv", "test": tmp_path / "test.csv"}
    flags = {
        **files, "text": "text", "label": "label", "policy-model": tiny_folder, "judge": tiny_folder,
        "task-model": "tests.watched:Watched", "length": 3, "evaluations": 64, "threads": 1, "method": "pin",
        "validate-every": 2, "save-every": 100, "template": "{text}|{prompt}|", "manual": "It was",
    }  # fmt: skip
    pairs = [(f"--{name}", str(value)) for name, value in flags.items()]

    def build(out: str) -> list[str]:
        return [
            "classify",
            str(tmp_path / "train.csv"),
            "--out",
            str(tmp_path / out),
            *(p for pair in pairs for p in pair),
        ]

    return build


@pytest.fixture
def asked(tmp_path: Path) -> Callable[[], Counter[str]]:
    """What the model was asked since this was last looked at."""

    def read() -> Counter[str]:
        path = tmp_path / "asked"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return Counter(lines)

    return read


def of(part: str, asked: Counter[str]) -> int:
    return sum(count for line, count in asked.items() if line.startswith(f"{part}-"))


@pytest.mark.parametrize(
    ("place", "skip", "part"),
    [("train-8", 0, "train"), ("train-8", 40, "train"), ("validation-15", 0, "validation"), ("test-20", 0, "test")],
)
def test_ctrl_c_is_heard_in_the_middle_and_a_resume_scores_what_is_left(
    place: str, skip: int, part: str, command: Callable[[str], list[str]], asked: Callable[[], Counter[str]],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    calibrated = ["--calibrate", "batch"] if part != "train" else []  # which scores the training texts there, too
    assert main([*command("whole"), *calibrated]) == 0
    whole = asked()
    monkeypatch.setenv("STOP", place)
    monkeypatch.setenv("SKIP", str(skip))
    assert main([*command("stopped"), *calibrated]) == 130
    before, out = asked(), tmp_path / "stopped"
    assert f"interrupted and saved; continue with: hardprompt resume {out}" in capsys.readouterr().err
    assert of("test", before) == 0 or part == "test"
    assert 0 < of(part, before) < of(part, whole)
    assert sum(place in line for line in before) == skip  # it did not wait for the text that was scored just then
    assert main(["resume", str(out), "--allow-code"]) == 0
    twice = before + asked() - whole
    assert sum(twice.values()) < PAIRS
    assert {line.split("-")[0] for line in twice} <= {part}
    again, first = comparable(out), comparable(tmp_path / "whole")
    assert again == first
    for name in ("predictions.csv", "prompts.csv", "README.md", "splits.csv"):
        assert (out / name).read_text() == (tmp_path / "whole" / name).read_text(), name
    assert not (out / "partial").exists()
    if calibrated:  # what is taken is of all training texts, though they were scored in groups and by two processes
        result = json.loads((out / "result.json").read_text())
        texts = [f"train-{i} text|{result['prompt']}|" for i in range(PARTS["train"])]
        means = Watched().score(texts, [" bad", " good"]).double().log_softmax(-1).mean(0)
        assert list(result["calibration"]["offset"].values()) == pytest.approx((means + math.log(2)).tolist())


@pytest.mark.parametrize("place", ["validation-15", "test-20"])
def test_a_run_that_is_killed_there_goes_on_there(
    place: str, command: Callable[[str], list[str]], asked: Callable[[], Counter[str]], environment: dict[str, str],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert main(command("whole")) == 0
    whole = asked()
    code = (
        "import sys; from hardprompt.search import work; from hardprompt.cli.main import main; "
        f"work._CHARACTERS, work._SECONDS = {GROUP}, -1.0; sys.exit(main(sys.argv[1:]))"
    )
    path = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
    env = {**environment, "PYTHONPATH": path, "STOP": place, "BY": "SIGKILL", "ASKED": str(tmp_path / "asked")}
    done = subprocess.run([sys.executable, "-c", code, *command("killed")], env=env, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    before = asked()
    assert main(["resume", str(tmp_path / "killed"), "--allow-code"]) == 0
    twice = before + asked() - whole
    assert {line.split("-")[0] for line in twice} <= {place.split("-")[0]}
    assert sum(twice.values()) < PAIRS
    assert comparable(tmp_path / "killed") == comparable(tmp_path / "whole")


def test_what_was_kept_and_then_damaged_is_scored_again(
    command: Callable[[str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(command("whole")) == 0
    monkeypatch.setenv("STOP", "test-20")
    assert main(command("stopped")) == 130
    log = next((tmp_path / "stopped" / "partial").glob("log-*.jsonl"))
    kept = [json.loads(line) for line in log.read_text().splitlines()]
    assert kept
    data: list[Any] = [[[entry[0][0], [["rubbish"]]]] for entry in kept]
    size = log.stat().st_size
    text = "".join(json.dumps(entry) + "\n" for entry in data)
    log.write_text(text + " " * (size - len(text) - 1) + "\n" if len(text) < size else text)
    state = tmp_path / "stopped" / "partial" / "state.json"
    index = json.loads(state.read_text())
    own = hashlib.sha256(text.encode()).hexdigest()
    index["logs"] = {path: [name, len(text), own] for path, (name, *_) in index["logs"].items()}
    del index["digest"]
    state.write_text(json.dumps({**index, "digest": digest(index)}))
    assert main(["resume", str(tmp_path / "stopped"), "--allow-code"]) == 0
    assert comparable(tmp_path / "stopped") == comparable(tmp_path / "whole")

"""A labelled data set and a command line that runs on the tiny model."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

GOOD = ("good", "great", "kind", "new", "clean", "warm")
BAD = ("bad", "cold", "slow", "old", "low", "not good")


@pytest.fixture(scope="session")
def data_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty short texts of two classes, each about one of eight things."""
    path = tmp_path_factory.mktemp("data") / "reviews.csv"
    things = ("film", "food", "room", "book", "game", "team", "market", "service")
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label", "thing"])
        for i in range(40):
            word = (GOOD if i % 2 else BAD)[i // 2 % 6]
            writer.writerow([f"The {things[i // 5]} was {word}, she said.", "good" if i % 2 else "bad", things[i // 5]])
    return path


@pytest.fixture
def arguments(tiny_folder: Path, data_file: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """The arguments of a short run on the tiny model; keyword arguments replace or add flags."""

    def build(out: str = "run", **changes: Any) -> list[str]:
        flags = {
            "text": "text", "label": "label", "out": tmp_path / out, "length": 3, "evaluations": 96, "threads": 1,
            "policy-model": tiny_folder, "task-model": tiny_folder, "judge": tiny_folder, "template": "{text}{prompt}",
            "manual": "It was",
            **changes,
        }  # fmt: skip
        pairs = [(f"--{k}", str(v)) for k, v in flags.items() if v is not None]
        return ["classify", str(data_file), *(part for pair in pairs for part in pair)]

    return build


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment without a network or a user's cache."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "HARDPROMPT_CACHE": str(tmp_path / "cache"), "COLUMNS": "160"}


@pytest.fixture
def hardprompt(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The real entry point in a process of its own."""

    def call(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "hardprompt.cli", *args],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )

    return call


def comparable(folder: Path) -> dict[str, Any]:
    """What two runs of one configuration must share to the last bit: everything but the clock."""
    result = json.loads((folder / "result.json").read_text())
    result.pop("seconds")
    steps = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    for step in steps:
        step.pop("seconds")
    state = json.loads((folder / "checkpoint" / "state.json").read_text())
    state["state"]["progress"].pop("seconds")  # which is in the digest
    del state["digest"]
    tensors = (folder / "checkpoint" / state["tensors"]).read_bytes()
    for path, (name, size, _) in state["logs"].items():  # a resumed run begins a file of its own
        state["logs"][path] = (folder / "checkpoint" / name).read_bytes()[:size]
    return {"result": result, "steps": steps, "state": state, "tensors": tensors}

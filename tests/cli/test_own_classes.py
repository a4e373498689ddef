"""A class of a user's that cannot be used gets a sentence; what its settings mean is its own business."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hardprompt.cli.main import main

from .test_bad_input import complaint

OWN = """
from __future__ import annotations
from dataclasses import dataclass
from typing import TYPE_CHECKING
from hardprompt import BestOfN
from hardprompt.tasks import Settings
if TYPE_CHECKING:
    from somewhere import Policy, Kind

class Base:
    needs = {"policy", "length", "seed"}
    def ask(self, room): ...
    def tell(self, proposal, rewards): ...
    def recommend(self): ...

class Mine(Base):
    def __init__(self, *, policy: Policy, length: int, seed: int, alpha: float = 1.0, top_k: int = 5, q: int = 1,
                 learning_rate: float = 0.1, kind: Kind = None, odd: "1 +" = 0, steps: int = 3):
        assert alpha != -3, "not this one"

@dataclass
class Data(Base):
    policy: Policy
    length: int
    seed: int
    alpha: float = 1.0
    kind: Kind = None

class Inherited(dict, Base): ...
class Several(type("C", (int,), {}), Base): ...

@dataclass(frozen=True, kw_only=True)
class Task(Settings):
    task = "own_classes:Task"
    figure, table = "reward", "own_classes:show"
    kind: Kind = None
    def load(self, models, policy_lm, notify): ...

def reward(prompts):
    return [float(len(p)) for p in prompts]
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_classes.py").write_text(OWN)
    yield
    sys.modules.pop("own_classes", None)
    sys.path[:] = [path for path in sys.path if path != str(tmp_path)]


def run(name: str, settings: str) -> list[str]:
    """A dry run of a method of that class, with some settings in YAML."""
    Path("own.yaml").write_text(
        f"task: optimize\nreward: own_classes:reward\nmethod: own_classes:{name}\nsettings: {settings}\n"
    )
    return ["run", "own.yaml", "--dry-run", "--allow-code"]


@pytest.mark.parametrize("name", ["Mine", "Data"])
@pytest.mark.parametrize("settings", ["{}", "{alpha: -1.0}"])
def test_its_settings_are_its_own_business(name: str, settings: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(run(name, settings)) == 0
    assert "reward" in capsys.readouterr().out


def test_names_that_mean_something_in_ours_mean_nothing_there() -> None:
    assert main(run("Mine", "{alpha: -1.0, top_k: -1, q: 0, learning_rate: -0.1}")) == 0


@pytest.mark.parametrize(("name", "settings", "said"), [
    ("Mine", "{steps: many}", "steps is 'many'; a whole number was expected."),  # beside what cannot be resolved
    ("Mine", "{kind: 1}", "setting 'kind' of method 'own_classes:Mine' is annotated 'Kind', which cannot be resolved."),
    ("Mine", "{odd: 1}", "setting 'odd' of method 'own_classes:Mine' is annotated"),
    ("Data", "{kind: 1}", "setting 'kind' of method 'own_classes:Data' is annotated 'Kind', which cannot be resolved."),
    ("Data", "{alpha: high}", "alpha is 'high'; a number was expected."),
    ("Inherited", "{}", "method 'own_classes:Inherited' does not say what it takes"),
    ("Several", "{}", "method 'own_classes:Several' does not say what it takes"),
])  # fmt: skip
def test_what_cannot_be_used_is_one_sentence(
    name: str, settings: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in complaint(run(name, settings), capsys)


def test_a_task_with_annotations_that_mean_nothing_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    Path("own.yaml").write_text("task: own_classes:Task\n")
    said = complaint(["run", "own.yaml", "--dry-run", "--allow-code"], capsys)
    assert "has annotations that cannot be resolved: NameError: name 'Kind' is not defined" in said


def test_a_constructor_that_fails_is_one_sentence(tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*run("Mine", "{alpha: -3}"), "--out", "out"]
    words.remove("--dry-run")
    with Path("own.yaml").open("a") as stream:
        stream.write(f"policy_model: {tiny_folder}\njudge: {tiny_folder}\nthreads: 1\nevaluations: 8\n")
    assert (
        "method 'own_classes:Mine' could not be built: AssertionError: not this one (own_classes.py, line"
        in complaint(words, capsys)
    )
    assert not Path("out").exists()

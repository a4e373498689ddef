"""A run, a comparison and a demonstration go on from anywhere, and where they were moved to."""

import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from hardprompt.cli.main import main
from hardprompt.compare import folder
from hardprompt.compare.plan import Plan
from hardprompt.errors import InputError
from hardprompt.runs import begun, read_recipe, start
from hardprompt.tasks import Recipe

from .test_bad_input import complaint


@pytest.fixture
def project(tmp_path: Path, tiny_folder: Path, data_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data and a model, where the user stands."""
    home = tmp_path / "project"
    (home / "data").mkdir(parents=True)
    shutil.copy(data_file, home / "data" / "reviews.csv")
    shutil.copytree(tiny_folder, home / "tiny")
    monkeypatch.chdir(home)
    return home


@pytest.fixture
def settings() -> dict[str, Any]:
    """As a user names them, from where she stands."""
    models = dict.fromkeys(("policy_model", "task_model", "judge"), "tiny")
    return {
        "task": "classify", "train": "data/reviews.csv", "text": "text", "label": "label", **models, "threads": 1,
        "length": 2, "evaluations": 16, "template": "{text}{prompt}", "manual": "It was", "method": "random",
    }  # fmt: skip


def read(recipe: Recipe) -> str:
    """What the data file that a recipe names holds, which its model's folder lies near."""
    assert Path(recipe.values["policy_model"], "config.json").is_file()
    assert recipe.values["policy_model"] == recipe.values["task_model"] == recipe.values["judge"]
    return Path(recipe.values["train"]).read_text(encoding="utf-8")


def test_a_run_goes_on_from_anywhere_and_after_a_move(
    project: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = (project / "data" / "reviews.csv").read_text(encoding="utf-8")
    start(Recipe.of(settings), Path("runs/one"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read(begun(project / "runs" / "one")) == text  # from elsewhere
    assert read(read_recipe(project / "runs" / "one" / "run.yaml")) == text  # repeated, too
    shutil.copytree(project / "runs" / "one", "alone")
    assert read(begun(Path("alone"))) == text  # alone, the data stayed
    project.rename("together")
    assert read(begun(Path("together/runs/one"))) == text  # with its data
    assert read(read_recipe(Path("together/runs/one/run.yaml"))) == text
    with pytest.raises(InputError) as caught:
        begun(Path("alone"))
    # ../../data, as it was seen from runs/one, from where it is now
    places = [part / own for part in (project, tmp_path) for own in ("data/reviews.csv", "tiny")]
    assert str(caught.value).count("is gone") == 2
    assert all(repr(str(place)) in str(caught.value) for place in places)
    assert "\n" not in str(caught.value)


def test_of_two_places_the_one_with_the_same_content_is_taken(
    project: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    text = (project / "data" / "reviews.csv").read_text(encoding="utf-8")
    start(Recipe.of(settings), Path("runs/one"))
    shutil.copytree(project, tmp_path / "copy")
    (project / "data" / "reviews.csv").write_text(text.replace("film", "song"), encoding="utf-8")
    assert read(begun(tmp_path / "copy" / "runs" / "one")) == text
    with pytest.raises(InputError, match="has changed since the run began"):
        begun(project / "runs" / "one")


def test_a_changed_model_is_not_gone_on_with(project: Path, settings: dict[str, Any]) -> None:
    start(Recipe.of(settings), Path("run"))
    weights = load_file("tiny/model.safetensors")
    name = min(weights)
    save_file({**weights, name: torch.zeros_like(weights[name])}, "tiny/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"model .*tiny' has changed since the run began"):
        begun(Path("run"))
    shutil.rmtree("tiny")
    with pytest.raises(InputError, match=r"model .*tiny' is gone"):
        begun(Path("run"))


def test_pictures_are_found_again(project: Path, settings: dict[str, Any], tmp_path: Path) -> None:
    (project / "pictures").mkdir()
    for name in ("a.png", "b.png"):
        (project / "pictures" / name).write_bytes(name.encode())
    own = {k: settings[k] for k in ("policy_model", "judge", "length", "evaluations", "threads")}
    for number, images in enumerate((["pictures"], ["pictures/a.png", "pictures/b.png"])):
        start(Recipe.of({"task": "invert", **own, "images": images}), Path(f"runs/{number}"))
    project.rename(tmp_path / "moved")
    for number in range(2):
        recipe = begun(tmp_path / "moved" / "runs" / str(number))
        assert [Path(file).read_bytes() for file in recipe.files] == [b"a.png", b"b.png"]
    (tmp_path / "moved" / "pictures" / "c.png").write_bytes(b"c.png")
    with pytest.raises(InputError, match=r"c.png' was not there when the run began"):
        begun(tmp_path / "moved" / "runs" / "0")


def test_a_comparison_goes_on_after_a_move(
    project: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shared = {k: v for k, v in settings.items() if k not in ("task", "method", "train", "threads", "task_model")}
    (project / "data" / "a").mkdir()
    shutil.copy(project / "data" / "reviews.csv", project / "data" / "a" / "train.csv")
    plan = {
        "settings": shared, "splits": ["a"], "seeds": [0], "methods": {"manual": {}, "random": {}}, "workers": 1,
        "data": {"mine": {"train": "data/{split}/train.csv"}, "other": {"train": "{folder}/reviews.csv"}},
        "models": {"tiny": {"task_model": "tiny", "data": {"mine": {"task_model": "tiny"}}}}, "folder": "data",
    }  # fmt: skip
    Path("plan.yaml").write_text(yaml.safe_dump(plan))
    folder.start(Plan.read(Path("plan.yaml")), Path("runs/all"))
    texts = (project / "data" / "reviews.csv").read_text(encoding="utf-8")
    monkeypatch.chdir("/")
    project.rename(tmp_path / "moved")
    for read_again in (folder.load, lambda out: Plan.read(out / "compare.yaml")):
        cells = read_again(tmp_path / "moved" / "runs" / "all").cells(tmp_path / "out")
        assert len(cells) == 4
        assert [read(cell.recipe) for cell in cells] == [texts] * 4


def test_a_printed_command_can_be_pasted(
    project: Path, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("with a space", "it's", "-dash", "$(touch x)"):
        out = Path(name)
        start(Recipe.of(settings), out)
        command = complaint(["run", f"./{name}/run.yaml", f"--out={name}"], capsys)
        words = shlex.split(command.partition("continue it with: ")[2].partition(", or name")[0])
        assert words[:2] == ["hardprompt", "resume"]
        assert not words[2].startswith("-")
        assert main(["show", words[2]]) == 0
        again = shlex.split(capsys.readouterr().out.partition("Continue it with: ")[2])
        assert again == words

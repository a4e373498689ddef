"""A file from a stranger runs no code, sends nothing and writes nowhere else, whatever the command that reads it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hardprompt.cli.main import main
from hardprompt.runs import begun, read_recipe, start
from hardprompt.search.plugins import trust, trusted
from hardprompt.tasks.foreign import foreign
from hardprompt.version import __version__

from .test_bad_input import complaint

TRAP = "from pathlib import Path\nPath('touched').touch()\nclass Mine: ...\ndef mine(*a): ...\n"
CLASSIFY = {"task": "classify", "train": "x.csv", "text": "text", "label": "label"}
RESTYLE = {"task": "restyle", "texts": "x.csv", "text": "text"}
STRANGE: dict[str, dict[str, Any]] = {
    "method": {**CLASSIFY, "method": "os:system", "settings": {"command": "touch touched"}},
    "method of a module here": {**CLASSIFY, "method": "trap:Mine"},
    "task": {"task": "trap:Mine"},
    "reward": {"task": "optimize", "reward": "trap:mine"},
    "task model": {**CLASSIFY, "task_model": "trap:Mine"},
    "image model": {"task": "invert", "images": ["x.png"], "image_model": "trap:Mine"},
    "style function": {**RESTYLE, "style_function": "trap:mine"},
    "base url": {**RESTYLE, "target_examples": "x.csv", "task_model": "openai:m", "base_url": "http://127.0.0.1:1"},
}
COMPARED: dict[str, dict[str, Any]] = {
    "by its name": {"settings": CLASSIFY, "methods": {"trap:Mine": {}}},
    "by another name": {"settings": CLASSIFY, "methods": {"pin": {"method": "trap:Mine"}}},
    "its task in what is its method's": {"settings": CLASSIFY, "methods": {"pin": {"task": "trap:Mine"}}},
    "what was typed": {"settings": CLASSIFY, "methods": {"pin": {}}, "typed": {"task_model": "trap:Mine"}},
    "settings alone": {"settings": {**CLASSIFY, "task_model": "trap:Mine"}, "data": {"x": {}}},
    "its task": {"task": "trap:Mine", "methods": {"pin": {}}},
    "a set of models": {"settings": CLASSIFY, "methods": {"pin": {}}, "models": {"a": {"task_model": "trap:Mine"}}},
    "of one data set": {
        "settings": CLASSIFY, "methods": {"pin": {}}, "models": {"a": {"data": {"b": {"task_model": "trap:Mine"}}}},
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user stands, with a module that leaves a mark when it is imported, and some data."""
    monkeypatch.chdir(tmp_path)
    Path("trap.py").write_text(TRAP)
    Path("x.csv").write_text("text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(20)))
    return tmp_path


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    said = complaint(words, capsys)
    assert "trap" not in sys.modules
    assert not Path("touched").exists()
    return said


@pytest.mark.parametrize("url", ["http://h/v1?key=hush", "http://h/v1#hush", "http://me:hush@h/v1"])
@pytest.mark.parametrize("model", ["openai:m", "embedded:smollm2"])
def test_a_key_in_an_address_is_written_nowhere(
    url: str, model: str, where: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["restyle", "x.csv", "--text", "text", "--target-examples", "x.csv", "--task-model", model]
    for more in ([], ["--dry-run"]):
        assert "hush" not in complaint([*words, "--base-url", url, "--out", "run", *more], capsys)
    Path("kept.yaml").write_text(
        yaml.safe_dump({**RESTYLE, "target_examples": "x.csv", "task_model": model, "base_url": url})
    )
    assert "hush" not in complaint(["run", "kept.yaml", "--out", "run", "--allow-code"], capsys)
    others = [path for path in where.rglob("*") if path.is_file() and path.name != "kept.yaml"]
    assert not any(b"hush" in path.read_bytes() for path in others)


@pytest.mark.parametrize("kind", STRANGE)
def test_no_command_runs_what_a_search_names(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    values = STRANGE[kind]
    Path("run").mkdir()
    kept = {**values, "versions": {"hardprompt": __version__}}
    for path in ("strange.yaml", "run/run.yaml"):
        Path(path).write_text(yaml.safe_dump(kept))
    name = next(str(v) for k, v in values.items() if str(v).startswith(("trap:", "os:", "http:")))
    for words in (
        ["run", "strange.yaml"], ["run", "strange.yaml", "--dry-run"], ["run", "run/run.yaml", "--out", "again"],
        ["resume", "run"], ["compare", "strange.yaml"], ["compare", "strange.yaml", "--dry-run"],
    ):  # fmt: skip
        said = refused(words, capsys)
        assert repr(name) in said
        assert "--allow-code" in said
    assert main(["show", "run"]) == 0  # which reads no more than how far it has come
    assert "resume run --allow-code" in capsys.readouterr().out
    assert "trap" not in sys.modules


@pytest.mark.parametrize("kind", COMPARED)
def test_no_command_runs_what_a_comparison_names(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("run").mkdir()
    for path in ("strange.yaml", "run/compare.yaml"):
        Path(path).write_text(yaml.safe_dump({**COMPARED[kind], "version": __version__}))
    for words in (
        ["compare", "strange.yaml"], ["compare", "strange.yaml", "--dry-run"], ["resume", "run"], ["show", "run"],
        ["compare", "strange.yaml", "--methods", "random"],
    ):  # fmt: skip
        assert "run the " in refused(words, capsys)


def test_all_that_would_have_run_is_named_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.yaml").write_text(yaml.safe_dump({**CLASSIFY, "method": "os:system", "task_model": "trap:Mine"}))
    said = refused(["run", "a.yaml"], capsys)
    assert said == (
        "hardprompt: 'a.yaml' would run the method 'os:system', run the task model 'trap:Mine'; if you trust whoever "
        "wrote it, add --allow-code."
    )


def test_the_words_of_a_user_are_no_code(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("method", "task", "reward", "task_model", "base_url")
    Path("y.csv").write_text("text,label\n" + "".join(f"text {i},{names[i % 5]}\n" for i in range(40)))
    words = {name: f" trap:{name}" for name in names} | {"task_model": "trap:Mine"}
    own = {**CLASSIFY, "train": "y.csv", "verbalizers": words}
    Path("own.yaml").write_text(yaml.safe_dump(own))
    for command in (["run", "own.yaml", "--dry-run"], ["compare", "own.yaml", "--dry-run"]):
        assert main(command) == 0
    assert "trap:Mine" in capsys.readouterr().out
    shown = {"claims": {"method": {"task": 0.5}}, "data": {"task": own}, "methods": {"reward": {"method": "random"}}}
    assert foreign({"title": "task: method", **shown, "folder": "reward:x", "reference": "a:b"}) == {}
    assert "trap" not in sys.modules


def test_a_result_of_a_strange_task_is_not_shown_by_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run").mkdir()
    Path("run/run.yaml").write_text("{}")
    Path("run/result.json").write_text(json.dumps({"task": "trap:Mine", "method": "pin"}))
    for command in ("show", "resume"):
        assert "run the task 'trap:Mine'" in refused([command, "run"], capsys)
    refused(["judge", "run", "--base-url", "http://127.0.0.1:1", "--model", "m"], capsys)


def test_a_part_of_a_folder_is_no_way_round(capsys: pytest.CaptureFixture[str]) -> None:
    """The search of a demonstration, which a stranger exchanged for another."""
    Path("run/best-of-n").mkdir(parents=True)
    values = {"evaluations": 8, "seed": 0, "threads": 1, "version": __version__}
    Path("run/demo.json").write_text(json.dumps(values))
    kept = {**STRANGE["method"], "versions": {"hardprompt": __version__}}
    Path("run/best-of-n/run.yaml").write_text(yaml.safe_dump(kept))
    assert "'os:system'" in refused(["resume", "run"], capsys)
    assert "'os:system'" in refused(["demo", "--out", "run"], capsys)


@pytest.mark.parametrize(("name", "said"), [
    ("os:system", "is no class with ask, tell, recommend"),
    ("builtins:dict", "it lacks ask, tell, recommend"),
    ("fractions:Fraction", "it lacks ask, tell"),
])  # fmt: skip
def test_what_is_typed_has_to_be_a_method(name: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["classify", "x.csv", "--text", "text", "--label", "label", "--method", name, "--dry-run"]
    assert said in complaint(words, capsys)


@pytest.mark.parametrize("words", [["--allow-code"], []], ids=["allowed", "typed"])
def test_what_is_allowed_or_typed_is_used(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("good.py").write_text("def good(prompts):\n    return [0.0] * len(prompts)\n")
    Path("own.yaml").write_text(yaml.safe_dump({"task": "optimize", "reward": "good:good"}))
    try:
        command = ["run", "own.yaml"] if words else ["optimize", "good:good"]
        assert main([*command, *words, "--dry-run"]) == 0
        assert json.loads(capsys.readouterr().out)["reward"] == "good:good"
    finally:
        sys.modules.pop("good", None)
    assert trusted() is None  # in Python the caller decides


def test_in_python_the_caller_decides(where: Path) -> None:
    Path("own.yaml").write_text(yaml.safe_dump(STRANGE["reward"]))
    recipe = read_recipe(Path("own.yaml"))
    assert recipe.values["reward"] == "trap:mine"
    start(recipe, Path("run"))
    trust(())
    try:
        with pytest.raises(ValueError, match="--allow-code"):
            begun(Path("run"))
    finally:
        trust(None)


@pytest.mark.parametrize("how", ["-m hardprompt", "-m hardprompt.cli", "script"])
def test_a_module_where_the_user_stands_takes_the_place_of_nothing(how: str, environment: dict[str, str]) -> None:
    for name in ("json", "typing", "argparse", "yaml", "pydantic", "difflib", "numpy"):
        Path(f"{name}.py").write_text(TRAP)
    script = "import sys; sys.path.pop(0); sys.argv[0] = 'hardprompt'; from hardprompt.cli.main import main; main()"
    words = ["-c", script] if how == "script" else how.split()
    done = subprocess.run(
        [sys.executable, *words, "run", "nothing.yaml"], capture_output=True, text=True, env=environment
    )
    assert "'nothing.yaml' does not exist" in done.stderr
    assert not Path("touched").exists()


def test_a_link_out_of_a_folder_is_not_followed(
    where: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Resuming takes what is old out of the checkpoint's folder: a link there would have it empty any other."""
    (where / "precious").mkdir()
    (where / "precious" / "diary.txt").write_text("mine")
    values = {**CLASSIFY, "policy_model": str(tiny_folder), "task_model": str(tiny_folder), "judge": str(tiny_folder)}
    Path("own.yaml").write_text(yaml.safe_dump(values))
    start(read_recipe(Path("own.yaml")), Path("run"))
    Path("run/checkpoint").symlink_to(where / "precious")
    assert "is a link to what is not in 'run'" in complaint(["resume", "run"], capsys)
    assert (where / "precious" / "diary.txt").read_text() == "mine"
    Path("run/checkpoint").unlink()
    Path("run/.lock").symlink_to(where / "precious" / "diary.txt")
    assert "'run/.lock' is a link" in complaint(["resume", "run"], capsys)
    assert (where / "precious" / "diary.txt").read_text() == "mine"


@pytest.mark.parametrize("text", ["a: &a {b: *a}", "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(8)
), "a: " + "[" * 5000])  # fmt: skip
def test_settings_without_an_end_are_one_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.yaml").write_text(text)
    complaint(["run", "a.yaml"], capsys)


def test_yaml_makes_nothing_but_plain_values(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.yaml").write_text("task: !!python/object/apply:os.system ['touch touched']\n")
    assert "is not YAML" in refused(["run", "a.yaml"], capsys)
    Path("run").mkdir()
    Path("run/run.yaml").write_text("task: !!python/object/apply:os.system ['touch touched']\n")
    assert "is not YAML" in refused(["resume", "run"], capsys)

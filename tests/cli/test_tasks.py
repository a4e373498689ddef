"""Every task on the command line, on tiny models: the same run folder, the same resume, the same manners."""

import csv
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hardprompt.cli.main import main
from tests.cli.conftest import comparable
from tests.cli.test_bad_input import complaint
from tests.cli.test_resume import stopped_after
from tests.conftest import Tiny
from tests.contract.test_image_text import save_tiny
from tests.unit.test_judge import KEY, Reply, Server

Hardprompt = Callable[..., "subprocess.CompletedProcess[str]"]
TASKS = ("restyle", "invert", "optimize")
HEADLINE = {"restyle": "j", "invert": "cosine", "optimize": "reward"}
OWN = {
    "restyle": {"outputs.csv", "splits.csv", "style-reward.safetensors", "style-test.safetensors"},
    "invert": {"grid.png"},
}
REWARD = """
import os, pathlib, time

def reward(prompts):
    return [p.count("e") - 0.01 * len(p) for p in prompts]

def fails_once(prompts):
    if len(list(pathlib.Path(os.environ["CALLS"]).iterdir())) == 3 and not os.environ.get("MENDED"):
        raise ConnectionError("the server is gone")
    pathlib.Path(os.environ["CALLS"], str(time.monotonic_ns())).touch()
    return reward(prompts)

def hangs(prompts):
    time.sleep(60)

class Maker:
    def __call__(self, prompts):
        return reward(prompts)

class Counted(Maker):
    def __init__(self):
        pathlib.Path(os.environ["CALLS"], str(time.monotonic_ns())).touch()

def styled(texts):
    return [min(1.0, len(t) / 40) for t in texts]
"""


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory, tiny_masked: Tiny) -> dict[str, Path]:
    """Texts of two styles, pictures, a module of rewards, and tiny models of every kind."""
    folder = tmp_path_factory.mktemp("tasks")
    things = ("film", "food", "room", "book", "game", "team", "market", "service", "dog", "house")
    for name, words in (("bad", ("bad", "cold", "slow", "old")), ("good", ("good", "great", "kind", "warm"))):
        (folder / f"{name}.txt").write_text("".join(f"The {t} was {w}.\n" for t in things for w in words))
    rng = np.random.default_rng(0)
    (folder / "album").mkdir()
    for name in ("one.png", "two.png"):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(folder / "album" / name)
    (folder / "own_rewards.py").write_text(REWARD)
    encoder = folder / "encoder"
    tiny_masked.model.base_model.save_pretrained(encoder)
    tiny_masked.tokenizer.save_pretrained(encoder)
    return {
        **{name: folder / f"{name}.txt" for name in ("bad", "good")},
        "album": folder / "album", "one": folder / "album" / "one.png", "two": folder / "album" / "two.png",
        "encoder": encoder, "tower": save_tiny("clip", folder / "tower"), "modules": folder,
    }  # fmt: skip


@pytest.fixture
def build(tiny_folder: Path, places: dict[str, Path], tmp_path: Path) -> Callable[..., list[str]]:
    """The arguments of a short run of a task; keyword arguments replace or add flags, None takes one away."""

    def make(task: str, out: str = "run", first: Any = None, **changes: Any) -> list[str]:
        own: dict[str, Any] = {
            "restyle": {
                "target-examples": places["good"], "task-model": tiny_folder, "embedder": places["encoder"],
                "shots": 3, "samples": 2, "validation-rows": 4, "test-rows": 5, "manual": "Say it well:",
            },
            "invert": {"image-model": places["tower"]},
            "optimize": {},
        }[task]  # fmt: skip
        flags = {
            "policy-model": tiny_folder, "judge": tiny_folder, "length": 3, "evaluations": 96, "threads": 1,
            "out": tmp_path / out, **own, **changes,
        }  # fmt: skip
        given = first if first is not None else {
            "restyle": places["bad"], "invert": places["one"], "optimize": "own_rewards:reward"
        }[task]  # fmt: skip
        many = given if isinstance(given, list) else [given]
        pairs = [(f"--{k}", str(v)) for k, v in flags.items() if v is not None]
        return [task, *map(str, many), *(part for pair in pairs for part in pair)]

    return make


@pytest.fixture
def environment(environment: dict[str, str], places: dict[str, Path], tmp_path: Path) -> dict[str, str]:
    (tmp_path / "calls").mkdir()
    path = os.pathsep.join([str(places["modules"]), environment.get("PYTHONPATH", "")])
    return {**environment, "PYTHONPATH": path, "CALLS": str(tmp_path / "calls")}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, places: dict[str, Path]) -> None:
    """The user stands where the module of rewards is."""
    monkeypatch.syspath_prepend(str(places["modules"]))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize("task", TASKS)
def test_a_run_fills_its_folder_and_prints_a_table(
    task: str, build: Callable[..., list[str]], hardprompt: Hardprompt, tmp_path: Path
) -> None:
    done = hardprompt(*build(task))
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "run"
    assert {p.name for p in folder.iterdir()} == {
        "run.yaml", "steps.jsonl", "checkpoint", "result.json", "prompts.csv", "README.md", ".lock",
        *OWN.get(task, set()),
    }  # fmt: skip
    result = json.loads((folder / "result.json").read_text())
    for key in (
        "task", "method", "seed", "prompt", "evaluations", "seconds", "support_size", "perplexity", "validation",
        "test", "baselines", "versions",
    ):  # fmt: skip
        assert key in result
    assert result["task"] == task
    assert result["evaluations"] == 96
    for row in result["baselines"]:
        assert set(row) >= {"name", "prompt", "test", "perplexity", "evaluations"}
    assert json.dumps(result["prompt"], ensure_ascii=False) in done.stdout
    with (folder / "prompts.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    tested = [row for row in rows if row["test"]]
    assert float(tested[0]["test"]) == result["test"][HEADLINE[task]]
    assert result["prompt"] in (folder / "README.md").read_text()
    again = hardprompt(*build(task))
    assert again.returncode == 2
    assert "already holds a run" in again.stderr
    shown = hardprompt("show", str(folder), "--json")
    assert json.loads(shown.stdout) == result


@pytest.mark.parametrize("task", TASKS)
def test_a_run_that_was_killed_or_interrupted_resumes_to_the_same_bits(
    task: str, build: Callable[..., list[str]], hardprompt: Hardprompt, environment: dict[str, str], tmp_path: Path
) -> None:
    changes = {"per-step": 2} if task == "restyle" else {}
    whole = hardprompt(*build(task, "whole", evaluations=160, **changes))
    assert whole.returncode == 0, whole.stderr
    out = tmp_path / "stopped"
    code, _ = stopped_after(build(task, "stopped", evaluations=160, **changes), out, 2, signal.SIGKILL, environment)
    assert code == -signal.SIGKILL
    again = ["resume", str(out), *(["--allow-code"] if task == "optimize" else [])]
    code, said = stopped_after(again, out, 5, signal.SIGINT, environment)
    assert code in (0, 130), said
    assert code == 0 or f"hardprompt {' '.join(again)}" in said  # pasted as it is printed
    done = hardprompt(*again)
    assert done.returncode == 0, done.stderr
    assert comparable(out) == comparable(tmp_path / "whole")


@pytest.mark.parametrize("task", TASKS)
def test_its_run_yaml_repeats_the_run_and_a_dry_run_writes_nothing(
    task: str, build: Callable[..., list[str]], hardprompt: Hardprompt, tmp_path: Path
) -> None:
    dry = hardprompt(*build(task), "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    assert json.loads(dry.stdout)["evaluations"] == 96
    assert not (tmp_path / "run").exists()
    first = hardprompt(*build(task), "--json")
    again = ["run", str(tmp_path / "run" / "run.yaml"), "--out", str(tmp_path / "again"), "--json"]
    second = hardprompt(*again, *(["--allow-code"] if task == "optimize" else []))
    assert second.returncode == 0, second.stderr
    results = [{**json.loads(done.stdout), "seconds": 0} for done in (first, second)]
    assert results[0] == results[1]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("method", ["pin", "rlprompt", "best-of-n"])
def test_every_kind_of_method_searches_every_task(
    task: str, method: str, build: Callable[..., list[str]], here: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*build(task, method=method, evaluations=32), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["method"] == method


@pytest.mark.parametrize(
    ("task", "changes", "expected"),
    [
        ("restyle", {"target-examples": None}, "one of them, not none"),
        ("restyle", {"style-function": "own_rewards:styled"}, "not --target-examples, --style-function"),
        ("restyle", {"target-examples": "nowhere.txt"}, "'nowhere.txt' does not exist"),
        ("restyle", {"template": "{prompt} {text} {mask}"}, "a rewriting follows the template's end"),
        ("restyle", {"template": "{prompt}"}, "has no {text}"),
        ("restyle", {"shots": 1000}, "leaves 31 texts to train on"),
        (
            "restyle",
            {"style-function": "own_rewards:style", "target-examples": None},
            "'style'. Did you mean 'styled'?",
        ),
        ("restyle", {"acceptability-model": "no/such", "acceptability-label": "1"}, "'no/such' could not be loaded"),
        ("restyle", {"manual": "word " * 300}, "and the task model reads 256"),
        ("restyle", {"task-model": "openai:writer"}, "--task-model openai:NAME with --base-url URL"),
        ("restyle", {"base-url": "http://localhost/v1"}, "any other has no base URL"),
        ("restyle", {"task-model": "openai:w", "base-url": "http://a:b@localhost/v1"}, "leave it out"),
        ("restyle", {"per-step": 4}, "cannot be more than the 3 shots"),
        ("restyle", {"references": "x.txt"}, "name it with --test"),
        ("restyle", {"style-label": "x"}, "belong together"),
        ("restyle", {"embedder": "embedded:minilmm"}, "Did you mean 'minilm'"),
        ("restyle", {"samples": 0}, "samples is 0; it must be a number between 1 and 1,000"),
        ("invert", {"first": "nowhere.png"}, "'nowhere.png' does not exist"),
        ("invert", {"require": "dog", "forbid": "dog"}, "'dog'"),
        ("invert", {"image-model": "embedded:clip"}, "unknown embedded model 'clip'. Valid: conse"),
        ("restyle", {"embedder": "embedded:minilmm"}, "unknown embedded model 'minilmm'. Did you mean 'minilm'?"),
        ("invert", {"image-model": "no/such-model"}, "model 'no/such-model' could not be loaded"),
        ("invert", {"draw": "no/such-model"}, "pip install 'hardprompt[diffusion]'"),
        ("invert", {"start": "word " * 40}, "reads at most 20"),
        ("invert", {"manual": "word " * 40}, "reads at most 20"),
        ("optimize", {"first": "own_rewards:rewrad"}, "Did you mean 'reward'"),
        ("optimize", {"first": "own_rewards"}, "is not MODULE:NAME"),
        ("optimize", {"first": "nowhere:reward"}, "No module named 'nowhere'"),
        ("optimize", {"reward-timeout": 0}, "reward_timeout is 0.0"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    task: str, changes: dict[str, Any], expected: str, build: Callable[..., list[str]], here: None,
    capsys: pytest.CaptureFixture[str], tmp_path: Path,
) -> None:  # fmt: skip
    assert expected in complaint(build(task, **changes), capsys)
    assert not (tmp_path / "run").exists()


def test_a_picture_that_is_none_is_named(
    build: Callable[..., list[str]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "text.jpg").write_text("not a picture")
    assert "text.jpg" in complaint(build("invert", first=tmp_path / "text.jpg"), capsys)
    assert not (tmp_path / "run").exists()


def test_several_pictures_get_one_prompt_with_the_words_that_are_asked_for(
    build: Callable[..., list[str]], places: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = build("invert", first=[places["one"], places["two"]], start="a photo of", require="dog")
    assert main([*arguments, "--forbid", "film", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["prompt"].startswith("a photo of")
    assert "dog" in result["prompt"]
    assert "film" not in result["prompt"]
    assert result["test"]["n"] == 2
    assert result["test"]["cosine"] == pytest.approx(sum(result["test"]["each"]) / 2)


def test_a_folder_gets_a_prompt_for_each_picture_and_goes_on_where_it_stopped(
    build: Callable[..., list[str]], places: dict[str, Path], hardprompt: Hardprompt, environment: dict[str, str],
    tmp_path: Path,
) -> None:  # fmt: skip
    out = tmp_path / "run"
    arguments = build("invert", first=places["album"], evaluations=160)
    code, _ = stopped_after(arguments, out / "one", 3, signal.SIGKILL, environment)
    assert code == -signal.SIGKILL
    done = hardprompt("resume", str(out), "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [run["folder"] for run in result["runs"]] == ["one", "two"]
    alone = hardprompt(*build("invert", "alone", first=places["two"], evaluations=160), "--json")
    assert json.loads(alone.stdout)["prompt"] == result["runs"][1]["prompt"]
    shown = hardprompt("show", str(out))
    assert all(json.dumps(run["prompt"]) in shown.stdout for run in result["runs"])


def test_one_picture_that_fails_does_not_cost_the_others(
    build: Callable[..., list[str]], places: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from hardprompt.errors import InputError
    from hardprompt.tasks.invert.task import InvertTask

    choose = InvertTask.choose

    def refuse_the_second(self: Any, trials: Any, perplexity: Any) -> Any:
        if "two.png" in self.paths[0]:
            raise InputError("no prompt for the second picture.")
        return choose(self, trials, perplexity)

    monkeypatch.setattr(InvertTask, "choose", refuse_the_second)
    assert main(build("invert", first=places["album"], evaluations=32)) == 2
    assert "no prompt for the second" in capsys.readouterr().err
    assert (tmp_path / "run" / "one" / "result.json").is_file()
    assert main(["show", str(tmp_path / "run")]) == 0
    assert "1 of the runs begun, one, two, are done" in capsys.readouterr().out
    monkeypatch.undo()
    assert main(["resume", str(tmp_path / "run"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 2


def test_a_picture_that_was_added_to_the_folder_is_noticed(
    build: Callable[..., list[str]], places: dict[str, Path], hardprompt: Hardprompt, environment: dict[str, str],
    tmp_path: Path,
) -> None:  # fmt: skip
    album = tmp_path / "album"
    album.mkdir()
    (album / "one.png").write_bytes(places["one"].read_bytes())
    stopped_after(build("invert", first=album), tmp_path / "run" / "one", 1, signal.SIGKILL, environment)
    (album / "two.png").write_bytes(places["two"].read_bytes())
    done = hardprompt("resume", str(tmp_path / "run"))
    assert done.returncode == 2
    assert "two.png' was not there when the run began" in done.stderr


def test_a_search_of_proposals_that_are_all_too_long_says_so_at_its_end(
    build: Callable[..., list[str]], here: None, capsys: pytest.CaptureFixture[str]
) -> None:
    # 20 tokens and a beginning are always above the 20 that the tiny model reads.
    arguments = build("invert", start="a photo of the", length=20, evaluations=32)
    assert "than the 20 tokens that the image model reads; forbid or require less" in complaint(arguments, capsys)


def test_a_reward_that_fails_keeps_the_run_which_goes_on_to_the_same_end(
    build: Callable[..., list[str]], hardprompt: Hardprompt, environment: dict[str, str], tmp_path: Path
) -> None:
    whole = hardprompt(*build("optimize", "whole"))
    assert whole.returncode == 0, whole.stderr
    failed = hardprompt(*build("optimize", first="own_rewards:fails_once"))
    assert failed.returncode == 1
    assert "ConnectionError: the server is gone" in failed.stderr
    assert f"hardprompt resume {tmp_path / 'run'}" in failed.stderr
    assert "Traceback" not in failed.stderr
    environment["MENDED"] = "1"
    done = hardprompt("resume", str(tmp_path / "run"), "--allow-code")
    assert done.returncode == 0, done.stderr
    one, other = (comparable(tmp_path / name) for name in ("whole", "run"))
    assert one["steps"] == other["steps"]
    assert one["result"] == other["result"]


def test_a_reward_that_hangs_is_left_behind(build: Callable[..., list[str]], hardprompt: Hardprompt) -> None:
    done = hardprompt(*build("optimize", first="own_rewards:hangs", **{"reward-timeout": 0.2}))
    assert done.returncode == 1
    assert "no answer within 0.2 seconds (--reward-timeout) for 16 prompts, the first" in done.stderr


def test_a_class_makes_a_reward(
    build: Callable[..., list[str]], here: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*build("optimize", first="own_rewards:Maker", manual="sea"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [row["test"]["reward"] for row in result["baselines"]] == [pytest.approx(1 - 0.03)]
    assert result["test"]["reward"] >= 0


def test_a_class_is_made_once_and_not_for_a_dry_run(
    build: Callable[..., list[str]], places: dict[str, Path], here: None, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made = tmp_path / "made"
    made.mkdir()
    monkeypatch.setenv("CALLS", str(made))
    assert main([*build("optimize", first="own_rewards:Counted"), "--dry-run"]) == 0
    assert list(made.iterdir()) == []
    assert main(build("optimize", first="own_rewards:Counted", evaluations=16)) == 0
    assert len(list(made.iterdir())) == 1


def test_a_style_may_be_a_function_and_test_texts_have_references(
    build: Callable[..., list[str]], here: None, places: dict[str, Path], capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    arguments = build(
        "restyle", evaluations=32, test=places["bad"], references=places["good"],
        **{"target-examples": None, "style-function": "own_rewards:styled", "test-rows": 10},
    )  # fmt: skip
    assert main([*arguments, "--zscore", "--json"]) == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert "GB of memory: models" in said.err
    assert result["style_by"] == "own_rewards:styled"
    assert "nrefs:1" in result["test"]["signature"]
    with (tmp_path / "run" / "outputs.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    pairs = dict(
        zip(*(places[n].read_text().splitlines() for n in ("bad", "good")), strict=True)
    )  # a text and its reference stay together when they are drawn
    assert all(pairs[row["text"]] == row["reference"] for row in rows)
    assert len(rows) == 10


def test_a_model_behind_an_api_may_rewrite(
    build: Callable[..., list[str]], here: None, places: dict[str, Path], capsys: pytest.CaptureFixture[str],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    server.script = [Reply({"choices": [{"text": "The food was great"}]})]
    try:
        changes = {"task-model": "openai:writer", "base-url": server.url, "evaluations": 16, "max-text-tokens": 4}
        assert main([*build("restyle", **changes), "--json"]) == 0
    finally:
        server.close()
    said = capsys.readouterr()
    result = json.loads(said.out)
    _, _, later = said.err.partition("how long it takes is estimated once the first scores are made")
    assert re.search(r": about \d[^:]*: search .*, validation .*, test", later)
    parts = ("train", "validation", "test")
    with (tmp_path / "run" / "splits.csv").open(newline="") as stream:
        used = [int(row["line"]) - 1 for row in csv.DictReader(stream) if row["part"] in parts]
    lines = places["bad"].read_text().splitlines()
    long = [lines[i] for i in used if len(lines[i]) > 16]  # four letters a token
    assert 0 < len(long) == result["texts"]["truncated"] < len(used)
    with (tmp_path / "run" / "outputs.csv").open(newline="") as stream:
        assert all(len(row["text"]) <= 16 for row in csv.DictReader(stream))
    assert "texts have more than 4 tokens and are cut at their end" in caplog.text
    assert all(row["output"] == "The food was great" for row in result["examples"])
    assert not [f for f in (tmp_path / "run").rglob("*") if f.is_file() and KEY.encode() in f.read_bytes()]


def test_the_test_texts_take_no_other_part(build: Callable[..., list[str]]) -> None:
    from hardprompt.tasks.restyle.texts import read

    arguments = build("restyle")
    target = arguments[arguments.index("--target-examples") + 1]
    given = {"texts": arguments[1], "target_examples": target, "shots": 3, "validation_rows": 24, "test_rows": 100}
    for seed in (0, 1):
        texts = read(**given, seed=seed)
        parts = [set(texts.train), set(texts.validation), set(texts.test)]
        assert sum(map(len, parts)) == len(set.union(*parts))
        assert not (parts[1] | parts[2]) & set(texts.source)
        assert set(texts.test) == set(read(**given).test)


def test_every_text_to_rewrite_is_listed_with_its_part_and_line(tmp_path: Path, places: dict[str, Path]) -> None:
    from hardprompt.tasks.restyle.texts import read

    lines = places["bad"].read_text().splitlines()
    (tmp_path / "a.txt").write_text("".join(f"{line}\n" for line in ["", *lines, lines[0], "more"]))
    (tmp_path / "t.txt").write_text("one\n\ntwo\nthree\n")
    texts = read(texts=str(tmp_path / "a.txt"), test=str(tmp_path / "t.txt"), shots=3, validation_rows=4, test_rows=2)
    files = {name: (tmp_path / name).read_text().split("\n") for name in ("a.txt", "t.txt")}
    assert all(files[one.file][one.number - 1] == one.text for _, one in texts.places)
    assert len(texts.places) == len(lines) + 2 + 3  # blank lines are no texts
    for part in ("train", "validation", "test"):
        assert sorted(one.text for name, one in texts.places if name == part) == sorted(getattr(texts, part))
    assert texts.sizes == {"train": 3, "validation": 4, "test": 2, "left_out": len(lines) + 5 - 9}


@pytest.mark.parametrize("method", ["autoprompt", "gcg", "pez"])
def test_methods_of_gradients_find_the_text_of_a_picture(
    method: str,
    build: Callable[..., list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*build("invert", method=method, evaluations=40), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["gradient_passes"] > 0
    assert -1.0 <= result["test"]["cosine"] <= 1.0


@pytest.mark.parametrize(
    ("task", "method", "reason"),
    [
        ("restyle", "gcg", "texts that are sampled, which have no gradient"),
        ("restyle", "demonstrations", "no pairs of them"),
        ("optimize", "pez", "a function that gives numbers and nothing else"),
        ("optimize", "manual", "give one with --manual"),
        ("optimize", "grips", "give one with --instruction or --manual"),
        ("invert", "instruction", "give one with --instruction"),
        ("invert", "demonstrations", "a picture has no examples"),
        ("invert", "bbt", "the reward of this task reads texts only"),
    ],
)
def test_a_task_that_lacks_what_a_method_needs_says_so(
    task: str, method: str, reason: str, build: Callable[..., list[str]], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    changes: dict[str, Any] = {"method": method}
    if task in ("optimize", "invert"):
        changes["manual"] = None
    assert reason in complaint(build(task, **changes), capsys)
    assert not (tmp_path / "run").exists()

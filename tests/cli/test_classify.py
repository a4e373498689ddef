"""The command line from end to end on the tiny model."""

import csv
import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from hardprompt.cli.main import main
from hardprompt.runs import alone, prepare, start
from hardprompt.search.files import digest
from hardprompt.tasks import Recipe

Arguments = Callable[..., list[str]]
Hardprompt = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_run_fills_its_folder_and_prints_a_table(
    arguments: Arguments, hardprompt: Hardprompt, tmp_path: Path
) -> None:
    done = hardprompt(*arguments())
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "run"
    assert {p.name for p in folder.iterdir()} == {
        "run.yaml", "predictions.csv", "steps.jsonl", "checkpoint", "result.json", "prompts.csv", "README.md", ".lock",
        "splits.csv",
    }  # fmt: skip
    result = json.loads((folder / "result.json").read_text())
    for key in (
        "task", "method", "seed", "prompt", "evaluations", "seconds", "support_size", "perplexity", "validation",
        "test", "baselines", "versions",
    ):  # fmt: skip
        assert key in result
    assert result["task"] == "classify"
    assert result["evaluations"] == 96
    test = result["test"]
    assert test["n"] == result["texts"]["test"] == sum(row["n"] for row in test["classes"])
    assert test["interval"][0] <= test["accuracy"] <= test["interval"][1]
    assert sum(map(sum, test["confusion"])) == test["n"]
    assert [row["name"] for row in result["baselines"]] == ["empty", "manual"]
    assert result["baselines"][1]["prompt"] == " It was"
    assert json.dumps(result["prompt"], ensure_ascii=False) in done.stdout
    assert "took part" in result["perplexity_by"]  # the judge here is the policy model, and the result says so
    steps = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    assert [s["step"] for s in steps] == [1, 2, 3, 4, 5, 6]
    with (folder / "prompts.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows[0]["prompt"] == result["prompt"]
    assert float(rows[0]["test"]) == test["accuracy"]
    assert result["prompt"] in (folder / "README.md").read_text()


def test_the_tables_say_which_rows_took_which_part_and_how_sure_each_prediction_is(
    arguments: Arguments, data_file: Path, tmp_path: Path
) -> None:
    assert main(arguments()) == 0
    rows = list(csv.DictReader(data_file.read_text(encoding="utf-8").splitlines()))
    with (tmp_path / "run" / "splits.csv").open(newline="") as stream:
        parts = list(csv.DictReader(stream))
    assert sorted(int(part["line"]) for part in parts) == list(range(2, 42))  # the header is line 1
    assert {part["file"] for part in parts} == {data_file.name}
    assert all(rows[int(part["line"]) - 2]["label"] == part["label"] for part in parts)
    with (tmp_path / "run" / "predictions.csv").open(newline="") as stream:
        found = list(csv.DictReader(stream))
    assert [one["line"] for one in found] == [part["line"] for part in parts if part["part"] == "test"]
    for one in found:
        chances = {name: float(one[f"P({name})"]) for name in ("good", "bad")}
        assert rows[int(one["line"]) - 2]["text"] == one["text"]
        assert sum(chances.values()) == pytest.approx(1.0, abs=1e-5)
        assert max(chances, key=lambda name: chances[name]) == one["predicted"]


def test_caps_leave_rows_and_tokens_out_with_a_count(
    arguments: Arguments, data_file: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoTokenizer

    caps = {"train-rows": 8, "validation-rows": 4, "test-rows": 6, "max-text-tokens": 9, "evaluations": 16}
    assert main([*arguments(**caps), "--json"]) == 0
    texts = json.loads(capsys.readouterr().out)["texts"]
    assert [texts[name] for name in ("train", "validation", "test", "left_out")] == [8, 4, 6, 22]
    with (tmp_path / "run" / "splits.csv").open(newline="") as stream:
        parts = list(csv.DictReader(stream))
    assert [part["part"] for part in parts].count("left out") == 22
    lines = data_file.read_text(encoding="utf-8").splitlines()
    for name in ("train", "validation", "test"):
        labels = [part["label"] for part in parts if part["part"] == name]
        assert labels.count("good") == labels.count("bad")
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    used = [next(csv.reader([lines[int(part["line"]) - 1]]))[0] for part in parts if part["part"] != "left out"]
    long = [text for text in used if len(tokenizer(text, add_special_tokens=False)["input_ids"]) > 9]
    assert 0 < len(long) == texts["truncated"] < 18


def test_classes_too_small_to_be_parted_are_left_out_when_asked(
    arguments: Arguments, data_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    file = tmp_path / "rare.csv"
    file.write_text(data_file.read_text() + "A strange one,rare,film\nAnother,rare,film\n")
    command = [str(file) if part == str(data_file) else part for part in arguments()]
    assert main([*command, "--dry-run"]) == 2
    assert "'rare' has too few examples" in (said := capsys.readouterr().err)
    assert "--drop-small-classes" in said
    assert main([*command, "--drop-small-classes", "--dry-run"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert list(plan["verbalizers"]) == ["bad", "good"]
    assert plan["texts"]["left_out"] == 2
    assert sum(plan["texts"].values()) == 42
    assert f"left out of {file} as too small: the classes rare (2); each needs 1 to train on" in caplog.text


def test_a_run_reads_its_files_once_and_says_once_what_is_to_be_known_of_them(
    data_file: Path, tiny_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, opened: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    lines = data_file.read_text(encoding="utf-8").splitlines()
    long = f"{'The film was good ' * 80},good,film"
    (tmp_path / "a.csv").write_text("\n".join([*lines, long, ",good,film", "odd,rare,film"]), encoding="latin-1")
    (tmp_path / "b.csv").write_text("\n".join([*lines[:9], ",good,film", "Caf\xe9,good,film"]), encoding="latin-1")
    for name in ("a.csv", "b.csv"):
        os.utime(tmp_path / name, (1e9, 1e9))
    opened.clear()
    monkeypatch.chdir(tmp_path)
    models = dict.fromkeys(("policy_model", "task_model", "judge"), str(tiny_folder))
    data = {"train": "a.csv", "test": "b.csv", "text": "text", "label": "label", "drop_small_classes": True}
    recipe = Recipe.of({"task": "classify", **data, **models, "template": "{text}{prompt}", "threads": 1})
    recipe.plan()
    prepare(start(recipe, tmp_path / "run"))  # as the command line does
    for name in ("a.csv", "b.csv"):  # once more for its fingerprint
        assert opened.count(name) == 2
    said = [record.getMessage() for record in caplog.records if record.name.startswith("hardprompt")]
    assert sorted(said) == sorted(set(said))
    for what in ("a.csv: 1 with an empty", "b.csv: 1 with an empty", "Windows-1252", "too small", "of the test set"):
        assert len([message for message in said if what in message]) == 1, what


def test_progress_goes_to_standard_error_and_one_json_object_to_standard_output(
    arguments: Arguments, hardprompt: Hardprompt
) -> None:
    done = hardprompt(*arguments(), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["evaluations"] == 96
    assert re.search(r"step \d+, best reward .*, validation .*, support .*evaluations, \d+ cache hits", done.stderr)


def test_run_yaml_repeats_the_run(arguments: Arguments, hardprompt: Hardprompt, tmp_path: Path) -> None:
    first = hardprompt(*arguments("first"), "--json")
    second = hardprompt("run", str(tmp_path / "first" / "run.yaml"), "--out", str(tmp_path / "second"), "--json")
    assert second.returncode == 0, second.stderr
    a, b = json.loads(first.stdout), json.loads(second.stdout)
    assert {k: v for k, v in a.items() if k != "seconds"} == {k: v for k, v in b.items() if k != "seconds"}
    shown = hardprompt("show", str(tmp_path / "second"), "--json")
    assert json.loads(shown.stdout) == b


def test_an_absent_judge_is_replaced_and_the_result_says_so(
    arguments: Arguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hardprompt.lms.embedded import EMBEDDED

    absent = dataclasses.replace(EMBEDDED["gemma3"], package="not-there")
    monkeypatch.setitem(EMBEDDED, "gemma3", absent)
    assert main([*arguments(evaluations=16, judge=None), "--json"]) == 0
    assert "took part" in json.loads(capsys.readouterr().out)["perplexity_by"]


def test_a_judge_that_cannot_be_loaded_does_not_cost_the_result(
    arguments: Arguments, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main([*arguments(evaluations=16, judge="no/such-judge"), "--json"]) == 0
    assert "took part" in json.loads(capsys.readouterr().out)["perplexity_by"]


def test_the_card_shows_the_prompt_as_the_model_reads_it(
    arguments: Arguments, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([*arguments(evaluations=16, template=r"Text: {text}\n{prompt} {mask}!"), "--json"]) == 0
    prompt = json.loads(capsys.readouterr().out)["prompt"]
    assert f"Text: {{text}}\n{prompt} {{answer}}!\n" in (tmp_path / "run" / "README.md").read_text()


def test_texts_of_the_test_file_are_left_out_of_training(
    arguments: Arguments, data_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from hardprompt.tasks.classify.splits import read_splits

    test = tmp_path / "test.csv"
    lines = data_file.read_text().splitlines()
    test.write_text("\n".join([lines[0], *lines[1:9]]) + "\n")
    base = {"train": str(data_file), "text": "text", "label": "label", "test": str(test)}
    parts = read_splits(**base)
    seen = {row.text for row in parts.test}
    assert seen.isdisjoint({row.text for row in parts.train + parts.validation})
    assert "left out" in caplog.text


def test_a_validation_file_that_repeats_the_training_file_is_used_with_a_warning(
    data_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from hardprompt.tasks.classify.splits import read_splits

    (tmp_path / "test.csv").write_text("text,label\nunseen,good\nnever read,bad\n")
    base = {"train": str(data_file), "validation": str(data_file), "text": "text", "label": "label"}
    parts = read_splits(**base, test=str(tmp_path / "test.csv"))
    assert parts.train == parts.validation
    assert "shows less of what a prompt is worth" in caplog.text


def test_a_class_of_the_users_own_is_found_where_the_user_stands(
    arguments: Arguments, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "from hardprompt.optimizers.best_of_n import BestOfN\n\nclass Mine(BestOfN):\n"
        "    needs = {'policy', 'length', 'seed'}\n"
    )
    script = Path(sys.executable).parent / "hardprompt"
    done = subprocess.run(
        [script, *arguments(evaluations=16, method="mine:Mine"), "--json"], capture_output=True, text=True,
        env=environment, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["method"] == "mine:Mine"


def test_a_search_that_recommends_nothing_ends_with_its_best_reward(
    arguments: Arguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "silent.py").write_text(
        "from hardprompt.optimizers.best_of_n import BestOfN\n\nclass Silent(BestOfN):\n"
        "    needs = {'policy', 'length', 'seed'}\n"
        "    def recommend(self):\n        return []\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main([*arguments(evaluations=16, method="silent:Silent"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    first = json.loads((tmp_path / "run" / "steps.jsonl").read_text().splitlines()[0])
    assert result["prompt"] == first["prompts"][first["rewards"].index(max(first["rewards"]))]


def test_a_run_is_not_continued_in_another_precision(
    arguments: Arguments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments(evaluations=16)]) == 0
    (tmp_path / "run" / "result.json").unlink()
    state = tmp_path / "run" / "checkpoint" / "state.json"
    index = json.loads(state.read_text())
    index["state"]["precision"] = "bfloat16"
    del index["digest"]
    state.write_text(json.dumps({**index, "digest": digest(index)}))
    assert main(["resume", str(tmp_path / "run")]) == 2
    assert "began in bfloat16" in capsys.readouterr().err


def test_a_run_that_another_process_is_working_on_is_left_to_it(
    arguments: Arguments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments(evaluations=16)]) == 0
    (tmp_path / "run" / "result.json").unlink()
    with alone(tmp_path / "run"):
        assert main(["resume", str(tmp_path / "run")]) == 2
    assert "another process is working" in capsys.readouterr().err
    assert main(["resume", str(tmp_path / "run")]) == 0


def test_show_says_how_far_an_unfinished_run_has_come(
    arguments: Arguments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments(evaluations=48)]) == 0
    (tmp_path / "run" / "result.json").unlink()
    capsys.readouterr()
    assert main(["show", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert "has not finished: steps 3" in said
    assert f"hardprompt resume {tmp_path / 'run'}" in said


def test_groups_are_kept_whole_and_recorded(
    arguments: Arguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hardprompt.tasks.classify.splits import read_splits

    assert main([*arguments(group="thing"), "--dry-run"]) == 0
    parts = read_splits(train=arguments()[1], text="text", label="label", group="thing")
    groups = [{row.group for row in part} for part in (parts.train, parts.validation, parts.test)]
    assert groups[0].isdisjoint(groups[1] | groups[2])
    assert groups[1].isdisjoint(groups[2])


@pytest.mark.parametrize("method", ["pin", "rlprompt", "best-of-n"])
def test_every_kind_of_method_runs(
    arguments: Arguments, method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("HARDPROMPT_CACHE", environment["HARDPROMPT_CACHE"])
    top_k = {"top-k": 50} if method == "pin" else {}
    assert main([*arguments(method=method, evaluations=32, **top_k), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["method"] == method


def test_settings_land_in_run_yaml(arguments: Arguments, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([*arguments(evaluations=16, q=1.5, alpha=2, prior=0.1)]) == 0
    saved = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())
    assert saved["settings"] == {"q": 1.5, "alpha": 2.0, "prior": 0.1}
    assert saved["versions"]["torch"]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom hardprompt.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'transformers', 'numpy', 'rich', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_doctor_and_methods_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"versions", "device", "threads", "cache", "ready"} <= set(found)
    for row in found["ready"]:
        if not row["ready"]:  # can be pasted, and installs for the Python that runs now
            assert shlex.split(row["detail"])[:4] == [sys.executable, "-m", "pip", "install"]
    assert main(["methods", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"pin", "pin-prior", "pin-no-fluency", "rlprompt", "rlprompt-fluency", "rlprompt-rb", "rlprompt-rb-fluency",
            "best-of-n"} <= set(listed)  # fmt: skip
    assert listed["pin"]["settings"]["top_k"] == 10_000
    assert listed["rlprompt"]["settings"]["q"] == 1.0

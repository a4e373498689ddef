"""Answers and templates as they are typed, and what a dry run says of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import PreTrainedTokenizerFast

from hardprompt.cli.main import main
from tests.conftest import make_tiny

Arguments = Callable[..., list[str]]


def planned(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main([*arguments, "--dry-run", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_an_answer_has_a_space_unless_it_is_typed_with_two_equals_signs(
    arguments: Arguments, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned([*arguments(), "--verbalizer", "good==great", "--verbalizer", "bad=cold"], capsys)
    assert plan["verbalizers"] == {"good": "great", "bad": " cold"}
    assert "notes" not in planned(arguments(), capsys)  # words of one token each


def test_a_dry_run_says_what_is_wrong_with_answers_of_several_tokens(
    arguments: Arguments, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = [*arguments(template="{text}{prompt} "), "--verbalizer", "good=good film", "--verbalizer", "bad=bad"]
    long, space = planned(typed, capsys)["notes"]
    assert "' good film' has 2 tokens" in long
    assert "ends in a space" in space
    assert main([*typed, "--score", "median", "--dry-run"]) == 2
    assert "unknown score 'median'" in capsys.readouterr().err


def test_a_dry_run_needs_no_model(arguments: Arguments, capsys: pytest.CaptureFixture[str]) -> None:
    (note,) = planned(arguments(**{"task-model": "no/such-model"}), capsys)["notes"]
    assert note.startswith("the answers were not looked at: model 'no/such-model' could not be loaded")


@pytest.mark.parametrize("kind", ["embedded", "gguf"])
def test_a_dry_run_converts_nothing(
    kind: str, arguments: Arguments, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a minute and half a gigabyte, after which the tokenizer could be looked at."""
    monkeypatch.setenv("HARDPROMPT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    name = {"embedded": "embedded:smollm2", "gguf": str(tmp_path / "x.gguf")}[kind]
    flags = {"task-model": name, "policy-model": name, "judge": name}
    assert planned(arguments(**flags), capsys)["notes"] == [
        f"the answers were not looked at: model {name!r} is converted when it is first loaded."
    ]
    assert not (tmp_path / "cache").exists()
    assert main([*arguments(**flags, method="gcg", template="{text} {mask} {prompt}"), "--dry-run"]) == 2
    assert "a method that takes gradients needs {prompt} before {mask}" in capsys.readouterr().err


@pytest.mark.parametrize("arch", ["roberta", "llama"])
def test_a_dry_run_goes_by_the_kind_of_the_model_and_not_by_the_template(
    arch: str, arguments: Arguments, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:  # fmt: skip
    """This tokenizer has a mask; a causal model reads on behind what stands before it, a masked one fills it."""
    folder = tmp_path / arch
    make_tiny(arch).config.save_pretrained(folder)  # there are no weights
    tiny_tokenizer.save_pretrained(folder)
    for template in ("{text} {mask}. {prompt}", "{prompt} {text} "):  # a masked model's answer stands at the end here
        notes = planned(arguments(**{"task-model": folder, "template": template}), capsys).get("notes", [])
        assert [note for note in notes if "ends in a space" in note] == notes
        assert len(notes) == (arch == "llama")
    words = ["--verbalizer", "good=x", "--verbalizer", "bad=<mask>"]
    assert main([*arguments(**{"task-model": folder}), *words, "--dry-run"]) == (2 if arch == "roberta" else 0)
    typed = arguments(**{"task-model": folder, "template": "{text} {mask} {prompt}"}, method="gcg")
    assert main([*typed, "--dry-run"]) == (0 if arch == "roberta" else 2)
    if arch == "roberta":
        tiny_tokenizer.__class__(tokenizer_object=tiny_tokenizer.backend_tokenizer).save_pretrained(folder)
        assert main([*arguments(**{"task-model": folder}), "--dry-run"]) == 2
        assert "its tokenizer has no mask token" in capsys.readouterr().err


def test_answers_that_are_the_same_to_the_model_end_a_dry_run(
    arguments: Arguments, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["--verbalizer", "good=good", "--verbalizer", "bad=good film", "--score", "first", "--dry-run"]
    assert main([*arguments(), *typed]) == 2
    assert "begin with the same token" in capsys.readouterr().err


def test_an_escape_means_a_line_break_where_it_is_typed_and_nowhere_else(
    arguments: Arguments, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    typed = arguments(template=r"{text}\n$\\nabla$ {prompt}")
    plan = planned(typed, capsys)
    assert plan["template"] == "{text}\n" + r"$\nabla$ {prompt}"
    values = {"train": typed[1], "text": "text", "label": "label", "template": plan["template"]}
    values |= {"task_model": typed[typed.index("--task-model") + 1]}
    values |= {"policy_model": values["task_model"], "judge": values["task_model"]}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    assert planned(["run", str(tmp_path / "run.yaml")], capsys)["template"] == plan["template"]
    (tmp_path / "run.yaml").write_text(
        yaml.safe_dump({**values, "template": r"{text}\n{prompt}", "versions": {"hardprompt": "0.1.0"}}),
        encoding="utf-8",
    )
    assert planned(["run", str(tmp_path / "run.yaml")], capsys)["template"] == "{text}\n{prompt}"

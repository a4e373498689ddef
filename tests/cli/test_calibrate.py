"""Calibrated answers from the command line: one text is classified alone by what the result says."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hardprompt.cli.main import main
from hardprompt.lms.load import load_causal

from .test_bad_input import complaint

Arguments = Callable[..., list[str]]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("how", ["batch", "affine"])
@pytest.mark.parametrize("method", ["best-of-n", "soft-prompt"])
def test_a_text_is_classified_alone_by_what_the_result_says(
    how: str, method: str, arguments: Arguments, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*arguments(calibrate=how, method=method, evaluations=24), "--verbalizer", "good=kind", "--verbalizer"]
    assert main([*given, "bad=cold", "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    found, names = result["calibration"], ["bad", "good"]
    assert found["kind"] == how
    assert list(found["offset"]) == names
    card = (tmp_path / "run" / "README.md").read_text()
    table = [line.split("|")[1:-1] for line in card.splitlines() if line.startswith(("| `bad", "| `good"))]
    columns = ["offset"] if how == "batch" else ["offset", "scale", "shift"]
    assert [[float(cell) for cell in row[1:]] for row in table] == [
        [pytest.approx(found[column][name], abs=1e-4) for column in columns] for name in names
    ]
    tested = rows_of(tmp_path / "run" / "predictions.csv")
    assert sum(row["right"] == "1" for row in tested) / len(tested) == pytest.approx(result["test"]["accuracy"])
    if method == "soft-prompt":  # which no plain forward of a text can check
        return
    model, tokenizer = load_causal(str(tiny_folder))
    answers = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in (" cold", " kind")]
    for row in tested:
        text = row["text"] + result["prompt"]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([tokenizer(text)["input_ids"]])).logits[0, -1].double()
        x = [float(logits[ids[0]]) - found["offset"][name] for ids, name in zip(answers, names, strict=True)]
        total = math.log(sum(math.exp(v) for v in x))
        z = [found["scale"][name] * (v - total) + found["shift"][name] for v, name in zip(x, names, strict=True)]
        chance = math.exp(z[1]) / sum(math.exp(v) for v in z)
        assert float(row["P(good)"]) == pytest.approx(chance, abs=1e-4)


def test_shares_are_of_every_class_and_of_use(arguments: Arguments, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*typed: str, **changes: Any) -> str:
        return complaint([*arguments(**changes), *typed], capsys)

    share = ("--class-prior", "good=0.9")
    assert "needs calibrate batch or affine" in said(*share, "--class-prior", "bad=0.1")
    assert "says nothing of 'bad'" in said(*share, calibrate="batch")
    assert "'god'. Did you mean 'good'?" in said("--class-prior", "god=1", calibrate="batch")
    assert "of 'good' is 0.0; it must be" in said(
        "--class-prior", "good=0", "--class-prior", "bad=1", calibrate="batch"
    )
    assert "is not LABEL=P, such as spam=0.1" in said("--class-prior", "good=much", calibrate="batch")
    assert "unknown calibrate 'bach'. Did you mean 'batch'?" in said(calibrate="bach")


def test_a_class_that_is_expected_more_often_is_predicted_more_often(
    arguments: Arguments, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = {}
    for share in (0.1, 0.9):
        own = ["--class-prior", f"good={share}", "--class-prior", f"bad={1 - share}"]
        assert main([*arguments(str(share), calibrate="batch", method="manual", evaluations=1), *own]) == 0
        rows = rows_of(tmp_path / str(share) / "predictions.csv")
        found[share] = [math.log(float(row["P(good)"]) / float(row["P(bad)"])) for row in rows]
    odds = [high - low for low, high in zip(found[0.1], found[0.9], strict=True)]
    assert odds == pytest.approx([2 * math.log(9)] * len(odds), abs=5e-3)
    assert "as often as in the training texts" not in caplog.text


def test_classes_that_are_not_even_are_expected_so_and_told(
    arguments: Arguments, data_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    head, *lines = data_file.read_text().splitlines()
    few = tmp_path / "few.csv"
    few.write_text("\n".join([head, *(line for i, line in enumerate(lines) if ",good," in line or i % 8 == 0)]))
    given = [str(few) if part == str(data_file) else part for part in arguments(calibrate="batch", method="manual")]
    assert main(given) == 0
    assert "as often as in the training texts (bad " in caplog.text

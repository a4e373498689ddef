"""Calibrated answers from the command line: one text is classified alone by what the result says."""

import csv
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hardprompt.cli.main import main
from hardprompt.lms.load import load_causal

from .test_bad_input import complaint

DOCS = Path(__file__).parents[2] / "docs"
Arguments = Callable[..., list[str]]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize(
    ("method", "how", "evaluations"),
    [
        ("manual", "affine", 1), ("demonstrations", "batch", 1), ("best-of-n", "affine", 16), ("gcg", "batch", 9),
        ("soft-prompt", "affine", 9),
    ],
)  # fmt: skip
def test_a_text_is_classified_alone_by_what_the_result_says(
    method: str, how: str, evaluations: int, arguments: Arguments, data_file: Path, tiny_folder: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    given = arguments(calibrate=how, method=method, evaluations=evaluations)
    assert main([*given, "--verbalizer", "good=kind", "--verbalizer", "bad=cold film", "--json"]) == 0
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
    model, tokenizer = load_causal(str(tiny_folder))
    soft = {} if result["readable"] else load_file(tmp_path / "run" / "soft_prompt.safetensors")

    def said(text: str) -> list[float]:
        """Log-probabilities of both answers by one plain forward of the model for each."""
        chances = []
        for word in (" cold film", " kind"):
            answer = tokenizer(word, add_special_tokens=False)["input_ids"]
            before, after = result["template"].replace("{text}", text).split("{prompt}")
            begins = before if soft else before + result["prompt"] + after
            vectors = model.get_input_embeddings()
            parts = [vectors(torch.tensor(tokenizer(begins)["input_ids"])), *soft.values()]
            parts.append(vectors(torch.tensor(answer)))
            with torch.no_grad():
                logits = model(inputs_embeds=torch.cat(parts)[None]).logits[0].double().log_softmax(-1)
            first = len(logits) - len(answer) - 1
            chances.append(sum(float(logits[first + i, token]) for i, token in enumerate(answer)))
        return chances

    tested = rows_of(tmp_path / "run" / "predictions.csv")
    assert sum(row["right"] == "1" for row in tested) / len(tested) == pytest.approx(result["test"]["accuracy"])
    for row in tested[:4]:
        x = [value - found["offset"][name] for name, value in zip(names, said(row["text"]), strict=True)]
        total = math.log(sum(math.exp(v) for v in x))
        z = [found["scale"][name] * (v - total) + found["shift"][name] for v, name in zip(x, names, strict=True)]
        chance = math.exp(z[1]) / sum(math.exp(v) for v in z)
        assert float(row["P(good)"]) == pytest.approx(chance, abs=1e-4)
    if how == "batch":
        (shown,) = re.findall(r"```python\n(.*?)```", (DOCS / "calibration.md").read_text(), re.DOTALL)
        exec(compile(shown.replace("FOLDER", str(tmp_path / "run")), "calibration.md", "exec"), {})
        better = -2.9 - found["offset"]["good"] > -3.1 - found["offset"]["bad"]
        assert capsys.readouterr().out == ("good\n" if better else "bad\n")
    lines = rows_of(data_file)  # the offset is what the training texts say
    train = [row["line"] for row in rows_of(tmp_path / "run" / "splits.csv") if row["part"] == "train"]
    logs = torch.tensor([said(lines[int(line) - 2]["text"]) for line in train]).double().log_softmax(-1)
    assert len(train) == found["texts"]
    assert list(found["offset"].values()) == pytest.approx((logs.mean(0) + math.log(2)).tolist(), abs=1e-4)


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
    arguments: Arguments, data_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    head, *lines = data_file.read_text().splitlines()
    few = tmp_path / "few.csv"
    few.write_text("\n".join([head, *(line for i, line in enumerate(lines) if ",good," in line or i % 8 == 0)]))
    given = [str(few) if part == str(data_file) else part for part in arguments(calibrate="batch", method="manual")]
    told = "as often as in the training texts (bad "
    assert main([*given, "--dry-run"]) == 0
    assert told in capsys.readouterr().out
    assert main(given) == 0
    assert told in caplog.text
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    count = result["calibration"]["texts"]
    assert f"Answers are calibrated (batch) on {count} training texts." in capsys.readouterr().out

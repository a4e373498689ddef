"""The tables of a classification's result, and what was predicted for each test text."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from hardprompt.data.files import columns
from hardprompt.tasks.classify.verdict import disappointed, said
from hardprompt.tasks.cutting import cut_note
from hardprompt.tasks.tables import number, rows, spent, table

PREDICTIONS = "predictions.csv"


def show(result: Mapping[str, Any]) -> list[RenderableType]:
    """Every prompt with its accuracy; the found one class by class; its lead over the manual one."""
    listing = table(
        f"Accuracy on {result['texts']['test']} test texts, perplexity under {result['perplexity_by']}",
        ("method", "prompt"),
        ("accuracy", "95 % interval", "macro-F1", "perplexity", "support", "evaluations", "seconds"),
    )
    for row in rows(result):
        low, high = row["test"]["interval"]
        listing.add_row(
            row["name"], json.dumps(row["prompt"], ensure_ascii=False), f"{row['test']['accuracy']:.3f}",
            f"{low:.3f} to {high:.3f}", f"{row['test']['macro_f1']:.3f}", number(row["perplexity"]),
            number(row.get("support_size")), spent(row), number(row.get("seconds")),
        )  # fmt: skip
    if together := result.get("ensemble"):  # older results have none
        test, count = together["test"], len(together["prompts"])
        low, high = test["interval"]
        listing.add_row(
            f"mean of {count}", json.dumps(together["prompts"], ensure_ascii=False), f"{test['accuracy']:.3f}",
            f"{low:.3f} to {high:.3f}", f"{test['macro_f1']:.3f}", "-", "-", f"{count} prompts a text", "-",
        )  # fmt: skip
    heads = [f"said {row['class']}" for row in result["test"]["classes"]]
    classes = table(
        "The found prompt, class by class", ("class",), ("precision", "recall", "F1", "texts", *heads), fold=False
    )
    for row, counts in zip(result["test"]["classes"], result["test"]["confusion"], strict=True):
        classes.add_row(
            row["class"], f"{row['precision']:.3f}", f"{row['recall']:.3f}", f"{row['f1']:.3f}", str(row["n"]),
            *map(str, counts),
        )  # fmt: skip
    never = [
        (f"on test with {json.dumps(row['prompt'], ensure_ascii=False)} ({row['name']})", names)
        for row in rows(result) if (names := row["test"].get("never_predicted"))
    ]  # fmt: skip
    if names := result.get("never_predicted_in_validation"):
        never.append(("on validation with the found prompt", names))
    gain = result["difference_to_manual"]
    low, high = gain["interval"]
    shown: list[RenderableType] = [
        listing,
        classes,
        *_weighed(result),
        f"Against the manual prompt: {gain['accuracy']:+.3f} accuracy, paired 95 % interval {low:+.3f} to {high:+.3f}.",
    ]
    if found := result.get("calibration"):
        shown.append(f"Answers are calibrated ({found['kind']}) on {found['texts']} training texts.")
    shown += [f"Never predicted {where}: {', '.join(names)}." for where, names in never]
    if not result.get("readable", True):
        shown.append("The found prompt is no text: it cannot be read, pasted, or moved to another model.")
    return [*shown, *cut_note(result)]


def _weighed(result: Mapping[str, Any]) -> list[RenderableType]:
    """What each prompt got right on the texts of each part, and which prompt to use by all but the test."""
    if not (verdict := result.get("verdict")):
        return []
    listing = table(
        "What is expected of other texts, by training and validation texts together", ("prompt", "by"),
        ("training", "validation", "expected", "test", "perplexity"),
    )  # fmt: skip
    for row in verdict["candidates"]:
        listing.add_row(
            json.dumps(row["prompt"], ensure_ascii=False), result["method"] if row["name"] == "found" else row["name"],
            f"{row['train']:.3f}", f"{row['validation']:.3f}", f"{row['expected']:.3f} ± {row['deviation']:.3f}",
            f"{row['test']:.3f}", number(row["perplexity"]),
        )  # fmt: skip
    validation, test = verdict["candidates"][0]["validation"], result["test"]
    shown: list[RenderableType] = [listing, said(verdict)]
    if disappointed(validation, result["texts"]["validation"], test["accuracy"], test["n"]):
        shown.append(
            f"Validation was far above test ({validation:.3f} against {test['accuracy']:.3f}): the validation texts "
            "are few, or not like the test texts."
        )
    return shown


def items(folder: Path) -> dict[str, list[Any]]:
    """``text`` and ``score`` of each test text: 1 where it was classified rightly, else 0."""
    rows = columns(folder / PREDICTIONS, "text", "right")
    return {"text": [text for text, _ in rows], "score": [float(right) for _, right in rows]}

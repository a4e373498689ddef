"""What follows from a verdict: its words, its tests, its ensemble."""

import math
from collections.abc import Mapping
from typing import Any

NORMAL = 1.96  # standard deviations of a 95 % interval
_ALIKE = 0.5  # of the words of two prompts that are one idea
CLOSE = 2
"""Prompts beside the found one that are tested with it, where it is not told from them."""


def shown_as(
    verdict: Mapping[str, Any], shown: Mapping[str, str], tested: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The verdict of the prompts that were tested, with their accuracy there, written ones as a person wrote them."""
    rows = [
        {**row, "prompt": shown.get(row["name"], row["prompt"]), "test": tested[row["prompt"]]["accuracy"]}
        for row in verdict["candidates"] if row["prompt"] in tested
    ]  # fmt: skip
    return {**verdict, "prompt": shown.get(verdict["use"], verdict["prompt"]), "candidates": rows}


def said(verdict: Mapping[str, Any]) -> str:
    """The verdict as two sentences."""
    low, high = verdict["interval"]
    by, sure = abs(verdict["difference"]), not low <= 0.0 <= high
    other = f"the {verdict['against']} one"
    first = verdict["candidates"][0]
    if verdict["use"] == "found":
        what = (
            f"Use the found prompt: of other texts it is expected to get {first['expected']:.3f} right, {by:.3f} more"
        )
        what = f"{what} than {other}"
    else:
        what = f"Keep your own: of other texts {other} is expected to get {by:.3f} more right than the found prompt"
    doubt = "" if sure else f"; these texts are too few to tell the two apart ({low:+.3f} to {high:+.3f})"
    optimism = verdict["optimism"]
    return (
        f"{what}{doubt}. What the found prompt got right of training and validation texts, {first['train']:.3f} and "
        f"{first['validation']:.3f}, lies {optimism['train']:+.3f} and {optimism['validation']:+.3f} above what is "
        "expected."
    )


def disappointed(validation: float, texts: int, test: float, tested: int) -> bool:
    """Whether an accuracy on validation lies further above that on test than the draw of the texts explains."""
    p = (validation * texts + test * tested) / (texts + tested)
    deviation = math.sqrt(p * (1.0 - p) * (1.0 / texts + 1.0 / tested))
    return validation - test > NORMAL * deviation


def close(verdict: Mapping[str, Any] | None) -> list[str]:
    """The prompts beside the found one that are expected to be nearest to the best, or are it."""
    if verdict is None:
        return []
    found = [row for row in verdict["candidates"][1:] if row["name"] == "found"]
    best = max(row["expected"] for row in verdict["candidates"])
    ranked = sorted(found, key=lambda row: -row["expected"])
    return [row["prompt"] for row in ranked if row["expected"] > best - row["deviation"]][:CLOSE]


def ensemble(verdict: Mapping[str, Any] | None, count: int) -> list[str]:
    """So many searched prompts of which most is expected and that are unlike each other; none for one.

    Each shares less than half of its words with those before it, where there are enough such.
    """
    if verdict is None or count < 2:
        return []
    found = [row for row in verdict["candidates"] if row["name"] == "found"]
    prompts = [row["prompt"] for row in sorted(found, key=lambda row: -row["expected"])]
    chosen: list[str] = []
    for strict in (True, False):
        for prompt in prompts:
            apart = all(_shared(prompt, other) < _ALIKE for other in chosen)
            if len(chosen) < count and prompt not in chosen and (apart or not strict):
                chosen.append(prompt)
    return chosen


def _shared(prompt: str, other: str) -> float:
    """The share of two prompts' words that both have."""
    words, others = (set(text.casefold().split()) for text in (prompt, other))
    return len(words & others) / max(1, len(words | others))

"""The tables of docs/calibration.md."""

import statistics
from collections.abc import Sequence
from typing import Any


def answers(found: dict[str, Any]) -> str:
    """What calibrated answers are worth: accuracy of sampled, of hand-written and of rewarded prompts elsewhere."""
    head = ["data", "answers", "sampled", "12 best by reward", "hand-written"]
    lines = [head, ["---"] * len(head)]
    for row in found["problems"]:
        for how, own in row["ways"].items():
            sampled = own["accuracy"][: row["sampled"]]
            hand = [own["accuracy"][row["prompts"].index(prompt)] for prompt in row["written"]]
            best = _best(own["rewards"]["8"][: row["sampled"]], sampled)
            lines.append([row["data"], how, _mean(sampled), f"{best:.3f}", _mean(hand)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def sharpness(found: dict[str, Any]) -> str:
    """What a sharper reward is worth: how well it foretells accuracy elsewhere, and how good its best prompts are."""
    sharp = list(found["problems"][0]["ways"]["none"]["rewards"])
    head = ["data", "answers", *sharp]
    lines = [head, ["---"] * len(head)]
    for row in found["problems"]:
        for how, own in row["ways"].items():
            sampled = own["accuracy"][: row["sampled"]]
            rewards = [own["rewards"][s][: row["sampled"]] for s in sharp]
            cells = [f"{statistics.correlation(r, sampled):.2f}, {_best(r, sampled):.3f}" for r in rewards]
            lines.append([row["data"], how, *cells])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _best(rewards: Sequence[float], accuracy: Sequence[float], count: int = 12) -> float:
    """Mean accuracy of the prompts of highest reward."""
    return statistics.fmean(a for _, a in sorted(zip(rewards, accuracy, strict=True), reverse=True)[:count])


def written(found: dict[str, Any]) -> str:
    """Accuracy of each hand-written prompt elsewhere, as the model says it and calibrated."""
    ways = list(found["problems"][0]["ways"])
    lines = [["data", "prompt", *ways], ["---"] * (2 + len(ways))]
    for row in found["problems"]:
        for prompt in row["written"]:
            at = row["prompts"].index(prompt)
            said = f"`{prompt.strip()}`" if prompt.strip() else "(none)"
            lines.append([row["data"], said, *(f"{row['ways'][how]['accuracy'][at]:.3f}" for how in ways)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _mean(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.3f}"

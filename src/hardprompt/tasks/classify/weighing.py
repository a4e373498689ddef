"""Whether a found prompt is to be used or one that was there before, by all that is known without the test."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Bool
from torch import Tensor

from hardprompt.search.evidence import worth
from hardprompt.tasks.classify.verdict import NORMAL

_ENOUGH = 8  # prompts that a search has to have scored before their spread says anything


def weighed(
    found: Sequence[str],
    written: Mapping[str, str],
    train: Bool[Tensor, "prompts n"],
    validation: Bool[Tensor, "prompts m"],
    history: Bool[Tensor, "scored n"] | None,
) -> dict[str, Any] | None:
    """How many of other texts each prompt is expected to get right, and which prompt to use; plain values.

    The first of ``found`` is the one that was chosen. It is used where it is expected to get more right than each
    written one; else the best of those is. None where too few prompts were scored to say. What is right or wrong is
    taken for normal, so that a found prompt of 100 is expected a point lower than it is, on average.

    Args:
        found: prompts that the search recommends.
        written: prompts that were there before, by name; none of them among the found.
        train: which training texts each prompt gets right, the found ones first.
        validation: the same of the validation texts.
        history: the same of the training texts, of every prompt that the search scored.
    """
    if history is None or len(history) < _ENOUGH or not written:
        return None
    known = worth(train.double(), validation.double(), history.double(), written=len(written))
    prompts, own = [*found, *written.values()], range(len(found), len(found) + len(written))
    deviation = known.covariance.diagonal().clamp_min(0.0).sqrt()
    rival = max(own, key=lambda i: float(known.expected[i]))
    difference = float(known.expected[0] - known.expected[rival])
    spread = float((known.covariance[0, 0] + known.covariance[rival, rival] - 2 * known.covariance[0, rival]).sqrt())
    names = [*("found" for _ in found), *written]
    use = 0 if difference > 0 else rival
    rows: list[dict[str, Any]] = [
        {
            "prompt": prompt, "name": name, "train": float(train[i].double().mean()),
            "validation": float(validation[i].double().mean()), "expected": float(known.expected[i]),
            "deviation": float(deviation[i]),
        }
        for i, (prompt, name) in enumerate(zip(prompts, names, strict=True))
    ]  # fmt: skip
    return {
        "use": names[use],
        "prompt": prompts[use],
        "against": names[rival],
        "difference": difference,
        "interval": [difference - NORMAL * spread, difference + NORMAL * spread],
        "optimism": {part: rows[0][part] - rows[0]["expected"] for part in ("train", "validation")},
        "candidates": rows,
    }

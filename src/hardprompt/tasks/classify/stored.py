"""How a calibration stands in a result, to classify one new text alone, and what a person does with it."""

from collections.abc import Mapping, Sequence
from typing import Any

from hardprompt.data.markdown import code_cell
from hardprompt.tasks.classify.calibration import Leaning
from hardprompt.tasks.classify.prior import Calibration


def stored(
    how: Calibration, found: Leaning | None, prompt: int, classes: Sequence[str], texts: int
) -> dict[str, Any] | None:
    """What is taken from the answers after a prompt, by its number; ``texts`` is how many said so. None is nothing."""
    if found is None:
        return None
    parts = {"offset": found.offset, "scale": found.scale, "shift": found.shift}
    named = {part: dict(zip(classes, values[prompt].tolist(), strict=True)) for part, values in parts.items()}
    return {"kind": how, "texts": texts, **named}


def how_to(calibration: Mapping[str, Any]) -> str:
    """What to do with the log-probabilities of the answers to one text, in Markdown."""
    columns = ["offset"] if calibration["kind"] == "batch" else ["offset", "scale", "shift"]
    lines = [["class", *columns], ["---"] * (1 + len(columns))]
    for name in calibration["offset"]:
        lines.append([code_cell(name), *(f"{calibration[column][name]:.4f}" for column in columns)])
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    further = "" if columns == ["offset"] else "; take the log-softmax, multiply each by its scale and add its shift"
    return (
        "Before the answers are compared, take from the log-probability of each its offset, which is what the prompt "
        f"gives its class on {calibration['texts']} texts alike{further}:\n\n{table}\n\n"
    )

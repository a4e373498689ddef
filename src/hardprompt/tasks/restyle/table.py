"""The tables of a style transfer's result, and the figure of each test text."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from hardprompt.data.files import columns
from hardprompt.tasks.cutting import cut_note
from hardprompt.tasks.tables import number, table

OUTPUTS = "outputs.csv"


def show(result: Mapping[str, Any]) -> list[RenderableType]:
    """Every prompt with its metrics, a few outputs, and what is to be known of the scores."""
    scored = "bleu" in result["test"]
    listing = table(
        f"Style transfer on {result['texts']['test']} test texts, perplexity of the prompt under "
        f"{result['perplexity_by']}",
        ("method", "prompt"),
        ("J", "95 % interval", "GM", "content", "style", "fluency", *(["BLEU"] if scored else []), "perplexity",
         "evaluations", "seconds"),
    )  # fmt: skip
    found = {k: result[k] for k in ("prompt", "test", "perplexity", "evaluations", "seconds")}
    for row in (*result["baselines"], {"name": result["method"], **found}):
        test = row["test"]
        low, high = test["interval"]
        prompt = "-" if row["prompt"] is None else json.dumps(row["prompt"], ensure_ascii=False)
        listing.add_row(
            row["name"], prompt, f"{test['j']:.3f}", f"{low:.3f} to {high:.3f}",
            *(f"{test[name]:.3f}" for name in ("gm", "content", "style", "fluency")),
            *([f"{test['bleu']:.1f}"] if scored else []), number(row["perplexity"]), str(row["evaluations"]),
            number(row.get("seconds")),
        )  # fmt: skip
    examples = table("The found prompt at work", ("text", "output"), ())
    for row in result["examples"]:
        examples.add_row(row["text"], row["output"])
    shown: list[RenderableType] = [listing, examples]
    if "difference_to_manual" in result:
        gain = result["difference_to_manual"]
        low, high = gain["interval"]
        shown.append(f"Against the manual prompt: J {gain['j']:+.3f}, paired 95 % interval {low:+.3f} to {high:+.3f}.")
    shown.append(f"Style by {result['style_by']}; fluency: {result['fluency_by']}")
    return [*shown, *cut_note(result)]


def items(folder: Path) -> dict[str, list[Any]]:
    """``text`` and ``score`` of each rewritten test text: content times style times fluency."""
    rows = columns(folder / OUTPUTS, "text", "content", "style", "fluency")
    return {"text": [row[0] for row in rows], "score": [math.prod(map(float, row[1:])) for row in rows]}

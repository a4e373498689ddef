"""The tables of prompts that were found for pictures."""

import json
from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType

from hardprompt.tasks.tables import number, spent, table


def show(result: Mapping[str, Any]) -> list[RenderableType]:
    """Every prompt with its score, of one run or of several."""
    runs = result.get("runs", [result])
    model, judge = runs[0]["image_model"], runs[0]["perplexity_by"]
    listing = table(
        f"Cosine of picture and text under {model}, perplexity under {judge}",
        (*(["picture"] if len(runs) > 1 else []), "method", "prompt"),
        ("cosine", "perplexity", "support", "evaluations", "seconds"),
    )
    for run in runs:
        found = {k: run[k] for k in ("prompt", "test", "perplexity", "evaluations")}
        passes = run.get("gradient_passes", 0)  # older results have none
        for row in (*run["baselines"], {"name": run["method"], "gradient_passes": passes, **found}):
            own = row["name"] == run["method"]
            listing.add_row(
                *([run["folder"]] if len(runs) > 1 else []), row["name"],
                json.dumps(row["prompt"], ensure_ascii=False), f"{row['test']['cosine']:.3f}",
                number(row["perplexity"]), number(run["support_size"]) if own else "-", spent(row),
                number(run["seconds"]) if own else "-",
            )  # fmt: skip
    return [listing, *([runs[0]["stand_in"]] if runs[0]["stand_in"] else [])]

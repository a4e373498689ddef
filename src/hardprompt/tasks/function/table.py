"""The table of the result of a search for a user's own reward."""

import json
from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType

from hardprompt.tasks.tables import number, rows, table


def show(result: Mapping[str, Any]) -> list[RenderableType]:
    """Every prompt with its reward."""
    listing = table(
        f"Reward, and perplexity under {result['perplexity_by']}",
        ("method", "prompt"),
        ("reward", "perplexity", "support", "evaluations", "seconds"),
    )
    for row in rows(result):
        listing.add_row(
            row["name"], json.dumps(row["prompt"], ensure_ascii=False), f"{row['test']['reward']:.6g}",
            number(row["perplexity"]), number(row.get("support_size")), str(row["evaluations"]),
            number(row.get("seconds")),
        )  # fmt: skip
    return [listing]

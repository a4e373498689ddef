"""What the tables of results are made of: empty tables, their rows, and short numbers."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def table(title: str, words: Sequence[str], figures: Sequence[str], *, fold: bool = True) -> "Table":
    """An empty table: columns of words to the left, then columns of figures to the right."""
    from rich.table import Table

    made = Table(title=title, title_justify="left")
    for name in words:
        made.add_column(name, overflow="fold" if fold else "ellipsis")
    for name in figures:
        made.add_column(name, justify="right", overflow="fold" if fold else "ellipsis")
    return made


def number(value: float | None) -> str:
    """A short form of a number, or a dash for none."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spent(row: Mapping[str, Any]) -> str:
    """Evaluations of a row of a table, and how many of them were passes for gradients."""
    passes = row.get("gradient_passes", 0)
    return f"{row['evaluations']} ({passes} passes)" if passes else str(row["evaluations"])


def rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The found prompt and its baselines as rows of one table, the found one last."""
    found = {
        "name": result["method"],
        **{k: result[k] for k in ("prompt", "test", "perplexity", "evaluations", "seconds", "support_size")},
        "gradient_passes": result.get("gradient_passes", 0),  # older results have none
    }
    return [*result["baselines"], found]

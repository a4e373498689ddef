"""Lays token sequences out for passes of a model: as trees in rows, rows in batches, groups that begin alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hardprompt.lms.kept import Kept

KEPT_TOKENS = 65_536
"""Of the kept beginnings that one pass is lent, padding included."""


@dataclass
class Row:
    """A tree of tokens over one kept prefix (or none); node i attends to itself, its ancestors and its share of it."""

    prefix: Kept | None
    # Of each node its token, parent, position, and the leading positions of the prefix that it may see.
    nodes: list[tuple[int, int, int, int]] = field(default_factory=list)
    children: dict[tuple[int, int, int], int] = field(default_factory=dict)

    def add(self, ids: Sequence[int], start: int) -> list[int]:
        """Insert ``ids``, whose first ``start`` tokens the prefix supplies; return the node of each later token."""
        path, parent = [], -1
        for position in range(start, len(ids)):
            key = (parent, start if parent < 0 else -1, ids[position])
            if key not in self.children:
                self.children[key] = len(self.nodes)
                self.nodes.append((ids[position], parent, position, start))
            parent = self.children[key]
            path.append(parent)
        return path

    @property
    def past(self) -> int:
        """Tokens of the prefix."""
        return len(self.prefix.ids) if self.prefix else 0


def sharing(begins: dict[int, list[int]]) -> list[tuple[list[int], list[int]]]:
    """Numbers of sequences that share more than half of each one's beginning, and what they share."""
    groups: list[tuple[list[int], list[int]]] = []
    for i in sorted(begins, key=begins.__getitem__):
        members, shared = groups[-1] if groups else ([], [])
        same = next((k for k, (a, b) in enumerate(zip(shared, begins[i], strict=False)) if a != b), None)
        same = min(len(shared), len(begins[i])) if same is None else same
        if 2 * same > max(len(shared), len(begins[i])):
            groups[-1] = [*members, i], shared[:same]
        else:
            groups.append(([i], begins[i]))
    return groups


def batches(
    items: Sequence[Any], size: Callable[[Any], int], limit: int, *, lent: Callable[[Any], int] = lambda _: 0
) -> list[list[Any]]:
    """Cut ``items``, sorted by ``size``, into runs whose padded size stays within ``limit``, and what they are lent."""
    batches: list[list[Any]] = []
    most = 0
    for item in items:
        most = max(most, lent(item))
        count = len(batches[-1]) + 1 if batches else 0
        if not batches or count * size(item) > limit or count * most > KEPT_TOKENS:
            batches.append([])
            most = lent(item)
        batches[-1].append(item)
    return batches

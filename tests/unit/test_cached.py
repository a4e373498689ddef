"""What a memory of rewards does with values that are not finite, item by item."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hardprompt.search.rewards import Cached


class Broken:
    """Of three items the second is worth nothing finite, at the first try."""

    items = 3

    def __init__(self) -> None:
        self.tries = 0

    def __call__(self, prompts: list[str]) -> Tensor:
        return self.aggregate(self.score(prompts))

    def score(self, prompts: Sequence[str], items: Sequence[int] | None = None) -> Tensor:
        self.tries += 1
        at = list(range(3)) if items is None else list(items)
        return torch.tensor([[math.inf if i == 1 and self.tries < 3 else float(i) for i in at] for _ in prompts])

    def aggregate(self, scores: Tensor, _: Sequence[int] | None = None) -> Tensor:
        return scores.mean(-1)


def test_a_value_that_is_not_finite_leaves_what_is_known_of_other_items_as_it_was() -> None:
    reward = Cached(Broken())
    assert reward.score(["a"], [0]).tolist() == [[0.0]]
    assert reward.score(["a"], [0, 1]).tolist() == [[0.0, math.inf]]
    assert reward.recall("a") == 0.0
    assert reward.score(["a"]).tolist() == [[0.0, 1.0, 2.0]]
    assert reward.recall("a") == 1.0

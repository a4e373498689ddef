"""Which prompt is to be used: on outcomes that are drawn from known chances, and on what the words say."""

import statistics
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hardprompt.tasks.classify.verdict import CLOSE, close, disappointed, ensemble, said
from hardprompt.tasks.classify.weighing import weighed


def drawn(chances: Tensor, texts: int, draw: torch.Generator) -> Tensor:
    return torch.rand(len(chances), texts, generator=draw) < chances[:, None]


def searched(draw: torch.Generator, own: float) -> tuple[dict[str, Any], Tensor]:
    """A search of 100 prompts, the nine best by training weighed against a person's; and all true chances."""
    chances = (0.62 + 0.05 * torch.randn(100, generator=draw)).clamp(0.3, 0.9)
    history = drawn(chances, 64, draw)
    found = history.double().mean(1).topk(9).indices
    train = torch.cat([history[found], drawn(torch.tensor([own]), 64, draw)])
    true = torch.cat([chances[found], torch.tensor([own])])
    validation = drawn(true, 64, draw)
    order = [*validation[:9].double().mean(1).argsort(descending=True).tolist(), 9]  # the chosen first
    names = [f"prompt {i}" for i in order[:9]]
    verdict = weighed(names, {"manual": "It was"}, train[order], validation[order], history)
    assert verdict is not None
    return verdict, true[order]


@pytest.mark.parametrize("own", [0.6, 0.75])
def test_what_is_expected_is_right_on_average_where_the_best_on_validation_is_not(own: float) -> None:
    draw = torch.Generator().manual_seed(1)
    misses, flattered, inside, better = [], [], [], []
    for _ in range(200):
        verdict, true = searched(draw, own)
        first = verdict["candidates"][0]
        misses.append(first["expected"] - float(true[0]))
        flattered.append(first["validation"] - float(true[0]))
        low, high = verdict["interval"]
        inside.append(low <= float(true[0] - true[-1]) <= high)
        better.append(float(true[0] if verdict["use"] == "found" else true[-1]) - float(max(true[0], true[-1])))
    # A good prompt's answers vary less than others', which a normal model does not know: a point too low, never high.
    assert -0.015 < statistics.fmean(misses) < 0.003
    assert statistics.fmean(flattered) > 4 * statistics.stdev(flattered) / 200**0.5
    assert 0.9 < statistics.fmean(inside) <= 1.0
    assert statistics.fmean(better) > -0.015  # what the worse of two choices costs, seldom and little


def test_a_better_prompt_of_ones_own_is_kept_and_a_worse_one_is_not() -> None:
    draw = torch.Generator().manual_seed(2)
    kept, _ = searched(draw, 0.9)
    assert (kept["use"], kept["prompt"]) == ("manual", "It was")
    assert said(kept).startswith("Keep your own: of other texts the manual one is expected to get 0.")
    left, _ = searched(draw, 0.4)
    assert left["use"] == "found"
    assert said(left).startswith("Use the found prompt: of other texts it is expected to get 0.")
    assert "too few" not in said(left)
    even, _ = searched(draw, 0.68)
    assert "these texts are too few to tell the two apart" in said(even)


def test_too_few_prompts_say_nothing() -> None:
    right = torch.ones(2, 4).bool()
    assert weighed(["a"], {"manual": "b"}, right, right, right) is None
    assert weighed(["a"], {"manual": "b"}, right, right, None) is None
    assert weighed(["a", "c"], {}, right, right, torch.ones(9, 4).bool()) is None
    assert close(None) == ensemble(None, 5) == []


def test_at_most_so_many_are_tested_beside_the_found_one_and_none_that_is_far_behind() -> None:
    rows = [
        {"name": name, "prompt": prompt, "expected": expected, "deviation": 0.03}
        for name, prompt, expected in [
            ("found", "a", 0.70), ("found", "b", 0.71), ("found", "c", 0.60), ("found", "d", 0.69),
            ("found", "e", 0.695), ("manual", "f", 0.72),
        ]
    ]  # fmt: skip
    assert close({"candidates": rows}) == ["b", "e"][:CLOSE]


@given(st.lists(st.text("ab ", max_size=6), min_size=1, max_size=8, unique=True), st.integers(2, 9))
def test_an_ensemble_is_of_the_best_and_of_unlike_ones_where_there_are_such(prompts: list[str], count: int) -> None:
    rows = [{"name": "found", "prompt": p, "expected": 1.0 - i / 10} for i, p in enumerate(prompts)]
    chosen = ensemble({"candidates": [*rows, {"name": "manual", "prompt": "own", "expected": 2.0}]}, count)
    assert len(chosen) == min(count, len(prompts)) == len(set(chosen))
    assert chosen[0] == prompts[0]
    assert "own" not in chosen


def test_near_copies_make_no_ensemble() -> None:
    prompts = ["A recent article on (", "A recent article on", "In short it was", "a Recent article ON it"]
    rows = [{"name": "found", "prompt": p, "expected": 0.9 - i / 10} for i, p in enumerate(prompts)]
    assert ensemble({"candidates": rows}, 2) == ["A recent article on (", "In short it was"]


def test_a_validation_far_above_test_is_told_from_the_draw_of_the_texts() -> None:
    assert disappointed(0.630, 46, 0.361, 150)
    assert not disappointed(0.630, 46, 0.55, 150)
    # Of texts with one chance it is said in one of forty.
    draw, told = torch.Generator().manual_seed(0), []
    for _ in range(2000):
        validation, test = (float((torch.rand(n, generator=draw) < 0.7).double().mean()) for n in (64, 200))
        told.append(disappointed(validation, 64, test, 200))
    assert 0.005 < statistics.fmean(told) < 0.045

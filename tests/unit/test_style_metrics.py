"""J, GM and BLEU against cases worked by hand."""

import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hardprompt.errors import InputError, MissingExtra
from hardprompt.tasks.intervals import bootstrap
from hardprompt.tasks.restyle.metrics import bleu, joint, paired_joint, style_metrics

CONTENT = torch.tensor([0.8, 0.5, 1.0, 0.0])
STYLE = torch.tensor([1.0, 0.0, 1.0, 1.0])
FLUENCY = torch.tensor([0.5, 1.0, 0.25, 1.0])

unit = st.floats(0, 1)
rows = st.lists(st.tuples(unit, st.sampled_from([0.0, 1.0]), unit), min_size=1, max_size=20)


def test_a_hand_worked_case() -> None:
    found = style_metrics(CONTENT, STYLE, FLUENCY)
    assert found["n"] == 4
    assert found["content"] == pytest.approx(2.3 / 4)
    assert found["style"] == pytest.approx(3 / 4)
    assert found["fluency"] == pytest.approx(2.75 / 4)
    assert found["j"] == pytest.approx((0.4 + 0.0 + 0.25 + 0.0) / 4)  # 0.1625
    assert found["gm"] == pytest.approx(0.2964843750 ** (1 / 3))  # 0.575 · 0.75 · 0.6875
    assert found["gm"] == pytest.approx(0.66681, abs=1e-5)
    assert found["interval"] == pytest.approx(bootstrap(np.array([0.4, 0.0, 0.25, 0.0])), abs=1e-6)


def test_what_is_good_on_average_only_is_seen_by_j_not_by_gm() -> None:
    """Half of the texts copied, the other half replaced: GM is 0.63, J is nothing."""
    copied, replaced = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    found = style_metrics(copied, replaced, torch.ones(2))
    assert found["j"] == 0.0
    assert found["interval"] == [0.0, 0.0]
    assert found["gm"] == pytest.approx(0.25 ** (1 / 3))


@given(rows=rows)
def test_bounds(rows: list[tuple[float, float, float]]) -> None:
    content, style, fluency = torch.tensor(rows, dtype=torch.float64).T
    found = style_metrics(content, style, fluency)
    means = [found[name] for name in ("content", "style", "fluency")]
    assert 0 <= found["j"] <= min(means) + 1e-12
    assert min(means) - 1e-12 <= found["gm"] <= max(means) + 1e-12
    low, high = found["interval"]
    assert 0 <= low <= high <= 1 + 1e-12
    assert joint(content, style, fluency).tolist() == pytest.approx([math.prod(row) for row in rows])


def test_perfect_is_one() -> None:
    found = style_metrics(torch.ones(3), torch.ones(3), torch.ones(3))
    assert [found[k] for k in ("content", "style", "fluency", "j", "gm")] == [1.0] * 5


def test_a_paired_difference_is_of_the_same_sentences() -> None:
    noise = torch.linspace(0, 0.9, 200, dtype=torch.float64)
    found = paired_joint(noise + 0.05, noise)
    assert found["j"] == pytest.approx(0.05)
    assert found["interval"] == pytest.approx([0.05, 0.05])  # either J alone varies much more
    low, high = bootstrap(noise.numpy())
    assert high - low > 0.05


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("content", "style", "fluency", "message"),
    [
        ([], [], [], "0 content scores"),
        ([0.5], [1.0, 1.0], [0.5], "2 style scores, 1 of content"),
        ([0.5], [1.0], [1.5], "a fluency score is 1.5"),
        ([math.nan], [1.0], [0.5], "a content score is nan"),
    ],
)
def test_scores_that_cannot_be_are_refused(
    content: list[float], style: list[float], fluency: list[float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        style_metrics(torch.tensor(content), torch.tensor(style), torch.tensor(fluency))
    with pytest.raises(InputError, match="cannot be paired"):
        paired_joint(torch.ones(2), torch.ones(3))


def test_bleu_of_a_case_worked_by_hand() -> None:
    found = bleu(["the cat sat on a mat"], ["the cat sat on the mat"])
    # n-grams that match, of those there are: 5/6, 3/5, 2/4, 1/3; both texts are as long.
    assert found["bleu"] == pytest.approx(100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** (1 / 4))
    short = bleu(["the cat sat on"], ["the cat sat on the mat"])
    assert short["bleu"] == pytest.approx(100 * math.exp(1 - 6 / 4))  # all match; two words are missing
    assert bleu(["the cat sat on"], ["a dog ran"], ["the cat sat on"])["bleu"] == pytest.approx(100.0)
    for part in ("nrefs:1", "tok:13a", "version:"):
        assert part in found["signature"]


def test_bleu_needs_as_many_references() -> None:
    for outputs, references in (([], [[]]), (["a"], []), (["a"], [["a"], ["a", "b"]])):
        with pytest.raises(InputError, match="as many of each"):
            bleu(outputs, *references)


def test_bleu_names_the_extra_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
    with pytest.raises(MissingExtra, match=r"pip install 'hardprompt\[bleu\]'"):
        bleu(["a"], ["a"])

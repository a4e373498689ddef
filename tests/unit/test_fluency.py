"""Fluency: a classifier's probability, or perplexity against that of real sentences."""

import statistics
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.lms.causal import CausalLM
from hardprompt.tasks.restyle import fluency
from hardprompt.tasks.restyle.fluency import Fluency, acceptability, relative_perplexity
from hardprompt.tasks.restyle.styles import StyleModel
from tests.conftest import ENGLISH, Tiny

LINES = ENGLISH.strip().splitlines()


class Said:
    """A language model that says what it is told."""

    def __init__(self, values: dict[str, float]) -> None:
        self.values = values
        self.asked: list[str] = []

    def perplexity(self, texts: Sequence[str]) -> Tensor:
        self.asked += texts
        return torch.tensor([self.values[text] for text in texts])


class Judge:
    """A classifier with the same answer to everything."""

    name = "judge"

    def __init__(self, answer: float) -> None:
        self.answer = answer

    def target(self, texts: Sequence[str]) -> Tensor:
        return torch.full((len(texts),), self.answer)


def relative(values: dict[str, float], human: Sequence[str]) -> Fluency:
    return relative_perplexity(Said(values).perplexity, human, name="said")


def test_a_hand_worked_case() -> None:
    values = {
        "a": 10.0,
        "b": 30.0,
        "c": 20.0,
        "": float("nan"),
        "far": 80.0,
        "near": 5.0,
        "off": float("inf"),
        " ": 2.0,
    }
    found = relative(values, ["a", "b", "c", ""])
    scores = found.score(["a", "b", "c", "far", "near", "off", "", " "])
    assert scores.tolist() == pytest.approx([1.0, 2 / 3, 1.0, 0.25, 1.0, 0.0, 0.0, 0.0])
    assert "m = 20 the median of 3 real sentences" in found.how
    assert "said" in found.how
    assert found.score([]).shape == (0,)


@given(values=st.lists(st.floats(1, 1e6), min_size=1, max_size=9))
def test_half_of_the_real_sentences_are_as_fluent_as_can_be(values: list[float]) -> None:
    known = {str(i): v for i, v in enumerate(values)}
    scores = relative(known, list(known)).score(list(known))
    assert bool(((scores > 0) & (scores <= 1)).all())
    assert int((scores > 1 - 1e-6).sum()) * 2 >= len(values)
    order = sorted(range(len(values)), key=values.__getitem__)
    assert scores[order].tolist() == sorted(scores.tolist(), reverse=True)


def test_a_sample_of_many_real_sentences_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fluency, "_HUMAN", 10)
    lm = Said({str(i): float(i + 1) for i in range(95)})
    found = relative_perplexity(lm.perplexity, [str(i) for i in range(95)], name="said")
    assert lm.asked == [str(i) for i in range(0, 95, 10)]
    assert "m = 46 the median of 10" in found.how


def test_without_a_real_sentence_there_is_nothing_to_compare_with() -> None:
    for human in ([], [""]):
        with pytest.raises(InputError, match="has a perplexity under said"):
            relative({"": float("nan")}, human)


def test_a_causal_model_against_the_formula(tiny_causal: Tiny) -> None:
    lm = CausalLM(tiny_causal.model, tiny_causal.tokenizer)
    found = relative_perplexity(lm.perplexity, LINES, name="tiny")
    median = statistics.median(lm.perplexity(LINES).tolist())
    texts = [*LINES[:3], "sea sea kind the the", ""]
    expected = [min(1.0, median / v) if v == v else 0.0 for v in lm.perplexity(texts).tolist()]
    assert found.score(texts).tolist() == pytest.approx(expected, rel=1e-6)


def test_a_classifier_is_asked_and_named() -> None:
    judge: StyleModel = Judge(0.25)
    found = acceptability(judge)
    assert found.score(["a", "b"]).tolist() == [0.25, 0.25]
    assert found.name == "judge"
    assert "grammatically acceptable, by judge" in found.how
    assert acceptability(Judge(float("nan"))).score(["a"]).tolist() == [0.0]

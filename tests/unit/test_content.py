"""Content preservation against loops over tokens, hand-worked cases, and real weights."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hardprompt.errors import MissingExtra
from hardprompt.lms.embedding import Embedder, load_embedder
from hardprompt.tasks.restyle.content import alignment, content, preservation
from tests.conftest import ENGLISH, Tiny

LINES = ENGLISH.strip().splitlines()


@pytest.fixture
def embedder(tiny_masked: Tiny) -> Embedder:
    return Embedder(tiny_masked.model.base_model, tiny_masked.tokenizer, name="tiny")


def vectors(count: int, seed: int, width: int = 4) -> Tensor:
    drawn = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return drawn / drawn.norm(dim=-1, keepdim=True)


def by_loops(x: Tensor, y: Tensor) -> float:
    """The definition, a number at a time."""

    def one_way(a: list[list[float]], b: list[list[float]]) -> float:
        total = 0.0
        for u in a:
            best = max(sum(p * q for p, q in zip(u, v, strict=True)) for v in b)
            total += min(1.0, max(0.0, best))
        return total / len(a)

    if not len(x) or not len(y):
        return 0.0
    there, back = one_way(x.tolist(), y.tolist()), one_way(y.tolist(), x.tolist())
    return 0.0 if there + back == 0 else 2 * there * back / (there + back)


@given(a=st.integers(0, 6), b=st.integers(0, 6), seed=st.integers(0, 1000), width=st.integers(1, 4))
def test_it_is_what_loops_say_symmetric_and_bounded(a: int, b: int, seed: int, width: int) -> None:
    x, y = vectors(a, seed, width), vectors(b, seed + 1, width)
    found = preservation(x, y)
    assert found == pytest.approx(by_loops(x, y), abs=1e-6)
    assert found == pytest.approx(preservation(y, x), abs=1e-12)
    assert 0 <= found <= 1
    if a:
        assert preservation(x, x) == pytest.approx(1.0, abs=1e-6)
        assert preservation(x, x.flip(0)) == pytest.approx(1.0, abs=1e-6)  # in any order


def test_a_hand_worked_case() -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    y = torch.tensor([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]])
    assert alignment(x, y).tolist() == pytest.approx([1.0, 0.8])
    assert alignment(y, x).tolist() == pytest.approx([1.0, 0.8, 0.0])  # a cosine below zero counts as none
    there, back = 0.9, 0.6
    assert preservation(x, y) == pytest.approx(2 * there * back / (there + back))  # 0.72


def test_opposites_share_nothing() -> None:
    assert preservation(torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]])) == 0.0


def test_a_batch_gives_each_pair_what_it_gets_alone(embedder: Embedder) -> None:
    sources = [*LINES[:4], LINES[0], "", LINES[4], ""]
    outputs = [*LINES[4:7], LINES[3], "good", "good", "", ""]
    found = content(embedder, sources, outputs)
    assert found.shape == (8,)
    for i, (source, output) in enumerate(zip(sources, outputs, strict=True)):
        fresh = Embedder(embedder.model, embedder.tokenizer, name="fresh")
        x, y = fresh.tokens([source, output])
        assert float(found[i]) == pytest.approx(by_loops(x, y), abs=1e-5)
    assert float(found[3]) == pytest.approx(1.0, abs=1e-6)
    assert found[5:].tolist() == [0.0, 0.0, 0.0]
    assert content(embedder, outputs, sources).tolist() == pytest.approx(found.tolist(), abs=1e-6)


def test_nothing_in_nothing_out(embedder: Embedder) -> None:
    assert content(embedder, [], []).shape == (0,)


def test_an_output_too_few_is_refused(embedder: Embedder) -> None:
    with pytest.raises(ValueError, match="shorter"):
        content(embedder, ["a", "b"], ["a"])


def test_real_weights_tell_a_rewrite_from_another_text() -> None:
    try:
        minilm = load_embedder("embedded:minilm")
    except MissingExtra as error:
        pytest.skip(str(error))
    source = "The service was slow and the food was cold."
    rewrite, copy, other, nothing = content(
        minilm, [source] * 4, ["The service was fast and the food was hot.", source, "He plays chess on Sundays.", ""]
    ).tolist()
    assert copy == pytest.approx(1.0, abs=1e-6)
    assert 0.6 < rewrite < 1.0
    assert other < 0.4
    assert nothing == 0.0
    assert math.isfinite(rewrite)

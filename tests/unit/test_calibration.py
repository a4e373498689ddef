"""Calibrated answers: by hand, by another optimizer, and what must not matter."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from hardprompt.data.tables import Example
from hardprompt.errors import InputError
from hardprompt.lms.masked import MaskedLM
from hardprompt.search.rewards import Cached, PerStep
from hardprompt.tasks.classify.calibration import Leaning, affine, batch, leaning
from hardprompt.tasks.classify.prior import Calibration
from hardprompt.tasks.classify.reward import Classification
from hardprompt.tasks.template import Template

from ..watched import Watched

EVEN = torch.full((3,), 1 / 3).double()


@pytest.fixture
def logs() -> Tensor:
    """Scores of two prompts on nine texts among three classes, leaning to one of them."""
    draw = torch.Generator().manual_seed(0)
    return torch.randn(2, 9, 3, generator=draw).double() + torch.tensor([[[3.0, 0, -1]], [[0, 0, 2.0]]]).double()


LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2])


def test_batch_is_what_a_person_would_work_out(logs: Tensor) -> None:
    found = batch(logs, torch.tensor([0.5, 0.25, 0.25]).double()).taken_from(logs)
    for p in range(2):
        rows = [[math.exp(float(v)) for v in row] for row in logs[p]]
        own = [[math.log(v / sum(row)) for v in row] for row in rows]
        means = [sum(row[k] for row in own) / 9 for k in range(3)]
        for i, row in enumerate(own):
            z = [math.exp(row[k] - means[k]) * (0.5, 0.25, 0.25)[k] for k in range(3)]
            assert found[p, i].exp().tolist() == pytest.approx([v / sum(z) for v in z])


def test_a_class_that_gains_alike_on_all_texts_gains_nothing(logs: Tensor) -> None:
    wanted = batch(logs, EVEN).taken_from(logs)
    moved = logs + torch.tensor([5.0, -2.0, 0.3]).double()
    torch.testing.assert_close(batch(moved, EVEN).taken_from(moved), wanted)
    torch.testing.assert_close(
        affine(moved, LABELS, EVEN).taken_from(moved), affine(logs, LABELS, EVEN).taken_from(logs)
    )


@pytest.mark.parametrize("strength", [0.1, 1.0, 30.0])
def test_affine_is_the_minimum_that_scipy_finds(logs: Tensor, strength: float) -> None:
    found = affine(logs, LABELS, EVEN, strength=strength)
    for p in range(2):
        own = logs[p].log_softmax(-1).numpy()
        x = own - own.mean(0)
        x = x - np.log(np.exp(x).sum(-1, keepdims=True))

        def loss(theta: np.ndarray, x: np.ndarray = x) -> float:
            z = theta[:3] * x + theta[3:]
            right = z[np.arange(9), LABELS.numpy()] - np.log(np.exp(z).sum(-1))
            return float(-right.mean() + strength / 18 * (((theta[:3] - 1) ** 2).sum() + (theta[3:] ** 2).sum()))

        best = minimize(loss, np.array([1.0, 1, 1, 0, 0, 0]), method="BFGS", options={"gtol": 1e-9})
        assert found.scale[p].tolist() == pytest.approx(best.x[:3], abs=1e-5)
        z = torch.tensor(best.x[:3] * x + best.x[3:])
        torch.testing.assert_close(found.taken_from(logs)[p], z.log_softmax(-1), atol=1e-5, rtol=0)


def test_a_strong_penalty_is_batch_and_parted_texts_stay_finite(logs: Tensor) -> None:
    strong = affine(logs, LABELS, EVEN, strength=1e9)
    torch.testing.assert_close(strong.taken_from(logs), batch(logs, EVEN).taken_from(logs), atol=1e-6, rtol=0)
    parted = 50.0 * torch.nn.functional.one_hot(LABELS, 3)[None].double()
    found = affine(parted, LABELS, EVEN)
    assert bool(found.scale.isfinite().all())
    assert found.taken_from(parted).argmax(-1)[0].equal(LABELS)


@settings(max_examples=25)
@given(st.integers(1, 6), st.integers(2, 5), st.integers(0, 1000), st.floats(0.01, 40))
def test_what_comes_out_is_a_distribution_and_prompts_keep_no_company(
    n: int, classes: int, seed: int, spread: float
) -> None:
    draw = torch.Generator().manual_seed(seed)
    logs = spread * torch.randn(3, n, classes, generator=draw).double()
    labels = torch.randint(0, classes, (n,), generator=draw)
    prior = torch.rand(classes, generator=draw).double() + 0.1
    fits: list[Callable[[Tensor], Leaning]] = [lambda x: batch(x, prior), lambda x: affine(x, labels, prior)]
    for fit in fits:
        found = fit(logs).taken_from(logs)
        torch.testing.assert_close(found.exp().sum(-1), torch.ones(3, n).double())
        torch.testing.assert_close(fit(logs[1:2]).taken_from(logs[1:2])[0], found[1], atol=1e-6, rtol=1e-6)


def test_none_is_the_model_at_its_word(logs: Tensor) -> None:
    torch.testing.assert_close(Leaning.only(torch.zeros(2, 3).double()).taken_from(logs), logs.log_softmax(-1))


@pytest.mark.parametrize("how", ["batch", "affine"])
def test_it_has_the_gradients_of_finite_differences(logs: Tensor, how: Calibration) -> None:
    def cross_entropy(logs: Tensor) -> Tensor:
        found = leaning(how, logs, LABELS)
        assert found is not None
        return -found.taken_from(logs)[:, torch.arange(9), LABELS].mean(-1)

    assert torch.autograd.gradcheck(cross_entropy, logs.requires_grad_(True))


TEXTS = ("The film was cold.", "The sea", "A dog and a film.", "The food was bad")
OTHERS = ("A book.", "The sun is warm")


def texts(*names: str) -> list[Example]:
    return [Example(name, "ab"[i % 2]) for i, name in enumerate(names)]


def test_a_masked_model_with_answers_of_several_tokens_is_calibrated_by_its_training_texts(tiny_masked: Any) -> None:
    model, tokenizer = tiny_masked
    common: dict[str, Any] = {"lm": MaskedLM(model, tokenizer), "template": Template("{text}{prompt}{mask}.")}
    common |= {"verbalizers": {"a": " good film", "b": " bad"}, "calibrate": "batch"}
    base = Classification(examples=texts(*TEXTS), **common)
    task = Classification(examples=texts(*OTHERS), base=base, **common)
    found = task.probabilities([" It was"])[0]

    def said(text: str) -> list[float]:
        """Masks filled from left to right, each by one plain forward."""
        chances = []
        for word in (" good film", " bad"):
            answer = tokenizer(word, add_special_tokens=False)["input_ids"]
            ids = tokenizer(f"{text} It was{tokenizer.mask_token * len(answer)}.")["input_ids"]
            at, chance = ids.index(tokenizer.mask_token_id), 0.0
            for i, token in enumerate(answer):
                with torch.no_grad():
                    logits = model(input_ids=torch.tensor([ids])).logits[0, at + i].double()
                chance += float(logits.log_softmax(-1)[token])
                ids[at + i] = token
            chances.append(chance)
        return chances

    own, other = (torch.tensor([said(text) for text in part]).double().log_softmax(-1) for part in (TEXTS, OTHERS))
    torch.testing.assert_close(found, (other - own.mean(0)).softmax(-1), atol=1e-5, rtol=1e-4)
    gaps = (found[0, 0] - found[0, 1], found[1, 1] - found[1, 0])
    reward = sum(float(gap) * (200 if gap > 0 else 180) for gap in gaps) / 2
    assert float(task([" It was"])) == pytest.approx(reward)
    with pytest.raises(InputError, match="calibrated by others"):
        task.aggregate(task.score([" It was"]))


class Labels(Watched):
    """Says which answer it is and no more."""

    def score(self, contexts: Sequence[str], choices: Sequence[str], *, after: str = "", how: str = "sum") -> Tensor:
        return torch.tensor([[0.0 if (len(c) + i) % 2 else -math.inf for i in range(len(choices))] for c in contexts])


def test_a_model_that_says_labels_only_is_refused_where_it_would_be_calibrated_and_no_where_else() -> None:
    common: dict[str, Any] = {"lm": Labels(), "examples": texts(*TEXTS), "template": Template("{text}{prompt}")}
    common |= {"verbalizers": {"a": " good", "b": " bad"}}
    plain = Classification(**common)
    assert plain.probabilities(["P"]).unique().tolist() == [0.0, 1.0]
    cached = Cached(plain)
    assert cached(["P"]).equal(plain(["P"]))
    assert bool(cached(["P"]).isfinite().all())
    assert cached.scored == 1  # it is remembered
    with pytest.raises(InputError, match=r"no probability at all .*, as one that says labels only"):
        Classification(calibrate="batch", **common)(["P"])


def test_log_probabilities_are_no_rewards_to_be_z_scored() -> None:
    task = Classification(
        lm=Labels(),
        examples=texts(*TEXTS),
        template=Template("{text}{prompt}"),
        verbalizers={"a": " good", "b": " bad"},
    )
    with pytest.raises(InputError, match="zscore is of rewards"):
        PerStep(Cached(task), per_step=2, zscore=True)(["P", "Q"])

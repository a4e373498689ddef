"""Test metrics against hand-worked cases and statistics they estimate."""

import numpy as np
import pytest
from scipy import stats

from hardprompt.tasks.classify.metrics import classification_metrics, paired_difference
from hardprompt.tasks.intervals import bootstrap


def test_a_hand_worked_case() -> None:
    labels, predicted = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 0, 2])
    found = classification_metrics(labels, predicted, ["a", "b", "c"])
    assert found["n"] == 6
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["confusion"] == [[2, 1, 0], [1, 1, 0], [0, 0, 1]]
    f1 = [2 * 2 / (2 * 2 + 1 + 1), 2 * 1 / (2 * 1 + 1 + 1), 1.0]
    assert found["macro_f1"] == pytest.approx(sum(f1) / 3)
    assert found["classes"][0] == pytest.approx(
        {"class": "a", "precision": 2 / 3, "recall": 2 / 3, "f1": f1[0], "n": 3}
    )


def test_a_class_that_is_never_predicted_counts_as_zero() -> None:
    found = classification_metrics(np.array([0, 1]), np.array([0, 0]), ["a", "b"])
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)


def test_the_bootstrap_interval_is_the_normal_one_where_that_holds() -> None:
    values = (np.random.default_rng(3).random(800) < 0.7).astype(float)
    low, high = bootstrap(values)
    expected = stats.norm.interval(0.95, values.mean(), values.std() / np.sqrt(len(values)))
    assert (low, high) == pytest.approx(expected, abs=0.006)
    assert bootstrap(values) == [low, high]


def test_pairing_sees_a_small_difference_that_two_intervals_would_hide() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    other = np.where(rng.random(400) < 0.7, labels, 1 - labels)
    better = other.copy()
    wrong = np.flatnonzero(better != labels)[:12]
    better[wrong] = labels[wrong]
    found = paired_difference(labels, better, other)
    assert found["accuracy"] == pytest.approx(12 / 400)
    assert found["interval"][0] > 0
    separate = [classification_metrics(labels, p, ["a", "b"])["interval"] for p in (better, other)]
    assert separate[0][0] < separate[1][1]

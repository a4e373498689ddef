"""What prompts are worth: against a whole Gaussian by brute force, and over searches that are simulated."""

import statistics

import numpy as np
import pytest
import torch
from torch import Tensor

from hardprompt.search.evidence import Worth, worth


def simulated(
    draw: torch.Generator, *, scored: int = 192, n: int = 32, m: int = 32, spread: float = 5.0, noise: float = 60.0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """True worths, training, validation scores and history of a search that recommends its nine best by training."""
    w = 10.0 + spread * torch.randn(scored, generator=draw).double()
    texts = 40.0 * torch.randn(n + m, generator=draw).double()
    scores = w[:, None] + texts + noise * torch.randn(scored, n + m, generator=draw).double()
    history = scores[:, :n]
    chosen = history.mean(1).topk(9).indices
    return w[chosen], history[chosen], scores[chosen][:, n:], history


@pytest.mark.parametrize("written", [0, 1])
def test_it_is_the_posterior_of_the_whole_gaussian(written: int) -> None:
    draw = torch.Generator().manual_seed(3)
    _, train, validation, history = simulated(draw, scored=12, n=4, m=3, spread=20.0)
    found = worth(train[:2], validation[:2], history, written=written)
    # The same four numbers, by two-way means written out.
    h = history.numpy()
    mu, rows, texts = h.mean(), h.mean(1), h.mean(0)
    c2 = sum((h[p, i] - rows[p] - texts[i] + mu) ** 2 for p in range(12) for i in range(4)) / (11 * 3)
    s2, d2 = rows.var(ddof=1) - c2 / 4, texts.var(ddof=1) - c2 / 12
    assert min(s2, d2) > 0
    # w_1, w_2 and g of seven texts; 14 observations. mu stands for mean worth on the training texts as they are.
    prior = np.diag([s2, 1e6 * s2 if written else s2, *[d2] * 7])
    look = np.array(
        [[float(p == a) for a in range(2)] + [float(i == b) for b in range(7)] for p in range(2) for i in range(7)]
    )
    # What mu is measured on has the training texts' own mean in it: w_p + mean(g_train) ~ N(mu, s2).
    shift = np.eye(9)
    shift[:2, 2:6] = -1 / 4
    prior = shift @ prior @ shift.T
    mean = np.array([mu, mu, *[0.0] * 7])
    seen = torch.cat([train[:2], validation[:2]], 1).numpy().ravel()
    gain = prior @ look.T @ np.linalg.inv(look @ prior @ look.T + c2 * np.eye(14))
    posterior = mean + gain @ (seen - look @ mean)
    covariance = prior - gain @ look @ prior
    assert found.expected.tolist() == pytest.approx(posterior[:2], rel=1e-4 if written else 1e-6)
    assert found.covariance.numpy() == pytest.approx(covariance[:2, :2], rel=1e-4 if written else 1e-6)


def test_what_is_expected_of_the_chosen_is_what_it_is_worth_and_the_choice_is_the_best() -> None:
    draw = torch.Generator().manual_seed(0)
    misses, inside, chosen = [], [], {"both": [], "validation": [], "training": []}  # type: ignore[var-annotated]
    for _ in range(300):
        w, train, validation, history = simulated(draw)
        found = worth(train, validation, history)
        best = int(found.expected.argmax())
        misses.append(float(found.expected[best] - w[best]))
        inside.append(abs(misses[-1]) < 1.96 * float(found.covariance[best, best]) ** 0.5)
        for name, scores in {
            "both": found.expected,
            "validation": validation.mean(1),
            "training": train.mean(1),
        }.items():
            chosen[name].append(float(w[scores.argmax()]))
    error = statistics.stdev(misses) / 300**0.5
    assert abs(statistics.fmean(misses)) < 3 * error
    assert 0.91 < statistics.fmean(inside) < 0.98
    mean = {name: statistics.fmean(values) for name, values in chosen.items()}
    assert mean["both"] > max(mean["validation"], mean["training"])


def test_prompts_that_are_all_alike_are_worth_the_same_and_all_is_finite() -> None:
    same = torch.full((3, 4), 7.0)
    for validation in (torch.full((3, 2), 7.0), torch.zeros(3, 0)):
        found = worth(same, validation, same)
        assert found.expected.tolist() == pytest.approx([7.0] * 3)
        assert bool(found.behind().isfinite().all())
    one = worth(torch.ones(1, 1), torch.ones(1, 1), torch.ones(1, 1))
    assert one.expected.tolist() == pytest.approx([1.0])


def test_the_best_is_behind_itself_by_nothing() -> None:
    covariance = torch.tensor([[4.0, 1.0], [1.0, 9.0]]).double()
    found = Worth(torch.tensor([3.0, 5.0]).double(), covariance, torch.zeros(2)).behind()
    assert found.tolist() == [[2.0, pytest.approx(11**0.5)], [0.0, 0.0]]

"""TsallisEntropy against entmax, a sort-based sparsemax, numerical optimisation, and its own identities."""

import math

import mpmath
import numpy as np
import pytest
import torch
from entmax import entmax15, entmax_bisect, sparsemax
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import minimize
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.optimizers.qlearning.entropy import TsallisEntropy

INDICES = (1.0, 1.25, 1.5, 2.0, 3.0)
WIDE = (1 + 1e-12, 1 + 1e-9, 1 + 1e-7, 1 + 1e-4, 1.01, 1.5, 1.999999, 2.000001, 2.5, 5.0, 10.0, 20.0, 50.0)
SPARSE = INDICES[1:]


def random_logits(*shape: int, scale: float = 1.0, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale).to(dtype)


def tsallis(p: np.ndarray, q: float) -> float:
    """S_q(p), written without the library."""
    p = np.clip(p, 0.0, None)
    if q == 1.0:
        return float(-(p[p > 0] * np.log(p[p > 0])).sum())
    return float((1.0 - (p**q).sum()) / (q * (q - 1.0)))


def sorted_sparsemax(x: Tensor) -> Tensor:
    """Algorithm 1 of Martins & Astudillo (2016), row by row."""
    rows = []
    for row in x.reshape(-1, x.shape[-1]).tolist():
        z = sorted(row, reverse=True)
        k = max(i + 1 for i in range(len(z)) if 1.0 + (i + 1) * z[i] > sum(z[: i + 1]))
        tau = (sum(z[:k]) - 1.0) / k
        rows.append([max(v - tau, 0.0) for v in row])
    return torch.tensor(rows, dtype=x.dtype).reshape(x.shape)


def logits_of(p: Tensor, q: float) -> Tensor:
    """Logits whose policy is ``p`` where p > 0, by inverting [(q-1) x - tau]_+^(1/(q-1)); elsewhere just below."""
    x = p.pow(q - 1.0) / (q - 1.0)
    edge = float(x[p > 0].min())
    return torch.where(p > 0, x, torch.full_like(x, -0.01 * edge))


def exact(x: list[float], q: float) -> tuple[list[float], float]:
    """Policy and value for q > 1, by bisection with so many digits that neither ties nor the power cost any."""
    with mpmath.workdps(int(40 + 4 * q)):
        rate, logits = mpmath.mpf(q) - 1, [mpmath.mpf(value) for value in x]
        low, high = mpmath.mpf(0), mpmath.log(len(x)) + 1

        def at(theta: mpmath.mpf) -> list[mpmath.mpf]:
            bases = [1 - rate * (max(logits) - value + theta) for value in logits]
            return [base ** (1 / rate) if base > 0 else mpmath.mpf(0) for base in bases]

        for _ in range(int(140 + 14 * q)):
            middle = (low + high) / 2
            low, high = (middle, high) if sum(at(middle)) >= 1 else (low, middle)
        p = at(low)
        entropy = (1 - sum(value ** mpmath.mpf(q) for value in p)) / (mpmath.mpf(q) * rate)
        return [float(value) for value in p], float(sum(a * b for a, b in zip(p, logits, strict=True)) + entropy)


def test_policy_at_one_is_softmax_and_value_is_logsumexp() -> None:
    x = random_logits(4, 30, scale=3.0)
    torch.testing.assert_close(TsallisEntropy(1.0).policy(x), x.softmax(-1))
    torch.testing.assert_close(TsallisEntropy(1.0).value(x), x.logsumexp(-1))


CYCLED = [[0.7, -0.3, -0.7, 0.5, 0.7, 0.3], [-0.14266330003738403, -0.4079105257987976, 0.32684218883514404]]


@pytest.mark.parametrize("row", CYCLED)
def test_an_entry_at_the_threshold_does_not_come_and_go_for_ever(row: list[float]) -> None:
    x = torch.tensor([row, row[::-1]])
    torch.testing.assert_close(TsallisEntropy(2.0).policy(x), sparsemax(x, dim=-1), atol=1e-6, rtol=0)


@given(st.lists(st.lists(st.integers(-9, 9), min_size=6, max_size=6), min_size=1, max_size=20))
def test_logits_with_many_ties_equal_entmax(rows: list[list[int]]) -> None:
    x = torch.tensor(rows) / 10.0
    torch.testing.assert_close(TsallisEntropy(2.0).policy(x), sparsemax(x, dim=-1), atol=1e-6, rtol=0)
    long = x.repeat(1, 100)
    torch.testing.assert_close(TsallisEntropy(2.0).policy(long), sparsemax(long, dim=-1), atol=1e-6, rtol=0)


def test_permuted_logits_are_as_good_as_others() -> None:
    x = random_logits(3, 4, 700, scale=2.0).transpose(0, 1)
    torch.testing.assert_close(TsallisEntropy(2.0).policy(x), sparsemax(x, dim=-1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset", [0.0, -300.0, 3e4])
@pytest.mark.parametrize("scale", [0.0, 0.01, 0.3, 1.0, 30.0])
@pytest.mark.parametrize("size", [511, 512, 5003])
def test_long_rows_equal_entmax_whatever_is_left_out_early(
    size: int, scale: float, offset: float, dtype: torch.dtype
) -> None:
    x = random_logits(2, 3, size, scale=scale, dtype=dtype) + offset
    x[0, 0, : size // 2] = -math.inf
    x[0, 1, : size - 1] = -math.inf  # the last entry lies in no part of equal length
    x[1, 2, 0] = x[1, 2].max() + 5.0
    entropy, rows = TsallisEntropy(2.0), torch.where(torch.isfinite(x), x, torch.full_like(x, -1e9))
    expected = sparsemax(rows.double(), dim=-1)
    exact = 1e-12 if dtype == torch.float64 and offset == 0 else 1e-5
    assert (entropy.policy(x).double() - expected).abs().max() <= exact
    assert torch.equal(entropy.support_size(x), (entropy.policy(x) > 0).sum(-1))
    inner = torch.where(expected > 0, expected * rows.double(), 0.0).sum(-1) + (1.0 - expected.square().sum(-1)) / 2.0
    torch.testing.assert_close(entropy.value(x).double(), inner, rtol=1e-6, atol=exact)


def test_value_of_a_long_row_has_the_policy_as_gradient() -> None:
    x = random_logits(3, 800, scale=2.0).requires_grad_()
    (grad,) = torch.autograd.grad(TsallisEntropy(2.0).value(x).sum(), x)
    torch.testing.assert_close(grad, TsallisEntropy(2.0).policy(x.detach()))


@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0])
@pytest.mark.parametrize("size", [1, 2, 7, 300])
def test_policy_at_two_equals_a_sort_based_sparsemax_and_entmax(size: int, scale: float) -> None:
    x = random_logits(5, size, scale=scale)
    policy = TsallisEntropy(2.0).policy(x)
    torch.testing.assert_close(policy, sorted_sparsemax(x), atol=1e-12, rtol=0)
    torch.testing.assert_close(policy, sparsemax(x, dim=-1), atol=1e-12, rtol=0)


@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0])
@pytest.mark.parametrize("size", [1, 2, 7, 300])
def test_policy_at_one_and_a_half_equals_entmax15(size: int, scale: float) -> None:
    x = random_logits(5, size, scale=scale)
    torch.testing.assert_close(TsallisEntropy(1.5).policy(x), entmax15(x, dim=-1), atol=1e-10, rtol=0)


@pytest.mark.parametrize("q", SPARSE)
@pytest.mark.parametrize("size", [2, 7, 300])
def test_policy_equals_entmax_bisect(q: float, size: int) -> None:
    x = random_logits(5, size, scale=2.0)
    expected = entmax_bisect(x, alpha=q, dim=-1, n_iter=100)
    torch.testing.assert_close(TsallisEntropy(q).policy(x), expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("q", INDICES)
@pytest.mark.parametrize("size", [2, 3, 5])
def test_policy_and_value_solve_the_variational_problem(q: float, size: int) -> None:
    for seed in range(3):
        x = random_logits(size, scale=0.7, seed=seed).numpy()
        found = minimize(
            lambda p, x=x: -(p @ x + tsallis(p, q)),
            np.full(size, 1.0 / size),
            bounds=[(0.0, 1.0)] * size,
            constraints={"type": "eq", "fun": lambda p: p.sum() - 1.0},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        entropy, logits = TsallisEntropy(q), torch.from_numpy(x)
        assert float(entropy.value(logits)) == pytest.approx(-found.fun, abs=1e-7)
        np.testing.assert_allclose(entropy.policy(logits).numpy(), found.x, atol=1e-3)


@pytest.mark.parametrize("q", INDICES)
def test_value_is_attained_by_the_policy_and_by_no_other_point_of_the_simplex(q: float) -> None:
    x = random_logits(6)
    entropy = TsallisEntropy(q)
    value, p = float(entropy.value(x)), entropy.policy(x).numpy()
    assert value == pytest.approx(float(p @ x.numpy()) + tsallis(p, q), abs=1e-12)
    others = np.random.default_rng(0).dirichlet(np.full(6, 0.5), size=300)
    assert all(other @ x.numpy() + tsallis(other, q) < value for other in others)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["spread", "ties", "near ties", "large", "equal"])
@pytest.mark.parametrize("q", WIDE)
def test_policy_and_value_equal_arithmetic_of_many_digits_from_one_to_fifty(
    q: float, kind: str, dtype: torch.dtype
) -> None:
    drawn = random_logits(6)
    changed = {"ties": (drawn * 2).round() / 10, "near ties": 1 + drawn * 1e-6, "large": drawn * 100 + 500}
    x = (changed | {"spread": drawn, "equal": torch.full_like(drawn, 0.3)})[kind].to(dtype)
    policy, value = exact(x.double().tolist(), q)
    entropy, rounding = TsallisEntropy(q), 1e-6 if dtype == torch.float32 else 1e-12
    assert entropy.policy(x).tolist() == pytest.approx(policy, rel=0, abs=rounding)
    assert float(entropy.value(x)) == pytest.approx(value, rel=rounding, abs=rounding)
    assert entropy.support_size(x).tolist() == sum(p > 0 for p in policy)


def test_a_probability_inside_the_support_is_never_rounded_to_zero() -> None:
    x = torch.tensor([0.0, -500.0, -5000.0])
    entropy = TsallisEntropy(1.001)
    assert (entropy.policy(x) > 0).tolist() == [True, True, False]
    assert int(entropy.support_size(x)) == 2


@pytest.mark.parametrize("q", [1 + 1e-9, 1.01, 2.5, 5.0, 10.0])
def test_gradient_of_the_policy_equals_finite_differences_from_one_to_ten(q: float) -> None:
    x = torch.tensor([0.3, 0.25, 0.1, 0.31], dtype=torch.float64) / q
    weight = torch.tensor([1.0, -2.0, 0.5, 0.7], dtype=torch.float64)
    z = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(TsallisEntropy(q).policy(z) @ weight, z)
    for i in range(len(x)):
        step = torch.zeros_like(x)
        step[i] = 1e-5
        up, down = (np.array(exact((x + sign * step).tolist(), q)[0]) @ weight.numpy() for sign in (1, -1))
        assert float(gradient[i]) == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("q", SPARSE)
@pytest.mark.parametrize("support", [1, 2, 10, 1000, 49_999, 50_000])
def test_policy_finds_every_constructed_support_in_a_vocabulary_of_fifty_thousand(q: float, support: int) -> None:
    generator = torch.Generator().manual_seed(support)
    p = torch.zeros(50_000, dtype=torch.float64)
    where = torch.randperm(50_000, generator=generator)[:support]
    p[where] = torch.rand(support, generator=generator, dtype=torch.float64) + 0.5
    p /= p.sum()
    entropy = TsallisEntropy(q)
    x = torch.stack([logits_of(p, q), logits_of(p, q) + 7.0])
    assert entropy.support_size(x).tolist() == [support, support]
    torch.testing.assert_close(entropy.policy(x), torch.stack([p, p]), atol=1e-10, rtol=1e-6)
    assert float(entropy.value(x)[0]) == pytest.approx(float(p @ x[0]) + tsallis(p.numpy(), q), abs=1e-10)


@pytest.mark.parametrize("q", [1.5, 2.0])
@pytest.mark.parametrize("support", [1, 10, 1000, 50_000])
def test_policy_in_single_precision_stays_close_in_a_vocabulary_of_fifty_thousand(q: float, support: int) -> None:
    p = torch.zeros(50_000, dtype=torch.float64)
    p[:support] = torch.linspace(0.5, 1.5, support, dtype=torch.float64)
    p /= p.sum()
    policy = TsallisEntropy(q).policy(logits_of(p, q).float())
    assert float(policy.sum()) == pytest.approx(1.0, abs=1e-4)
    assert float((policy.double() - p).abs().sum()) < 5e-3  # total variation, in units of probability


@pytest.mark.parametrize("q", INDICES)
def test_gradients_of_policy_and_value_pass_gradcheck(q: float) -> None:
    x = random_logits(3, 5).requires_grad_()
    entropy = TsallisEntropy(q)
    assert torch.autograd.gradcheck(entropy.policy, (x,))
    assert torch.autograd.gradcheck(entropy.value, (x,))


@pytest.mark.parametrize("q", INDICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_of_the_value_is_the_policy(q: float, dtype: torch.dtype) -> None:
    x = random_logits(2, 3, 40, scale=2.0, dtype=dtype).requires_grad_()
    entropy = TsallisEntropy(q)
    (gradient,) = torch.autograd.grad(entropy.value(x).sum(), x)
    torch.testing.assert_close(gradient, entropy.policy(x.detach()), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("q", SPARSE)
def test_policy_gradient_equals_that_of_entmax_bisect(q: float) -> None:
    x = random_logits(4, 20, scale=2.0)
    weight = random_logits(4, 20, seed=1)
    gradients = []
    for policy in (TsallisEntropy(q).policy, lambda z: entmax_bisect(z, alpha=q, dim=-1, n_iter=100)):
        z = x.clone().requires_grad_()
        gradients.append(torch.autograd.grad((policy(z) * weight).sum(), z)[0])
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("q", INDICES)
@pytest.mark.parametrize("shift", [-100.0, 0.3, 1000.0])
def test_adding_a_constant_shifts_the_value_and_leaves_policy_and_support(q: float, shift: float) -> None:
    x = random_logits(4, 25, scale=2.0)
    entropy = TsallisEntropy(q)
    torch.testing.assert_close(entropy.value(x + shift), entropy.value(x) + shift, atol=1e-9, rtol=0)
    torch.testing.assert_close(entropy.policy(x + shift), entropy.policy(x), atol=1e-9, rtol=0)
    assert entropy.support_size(x + shift).tolist() == entropy.support_size(x).tolist()


@pytest.mark.parametrize("q", INDICES)
def test_minus_infinity_equals_absence_in_policy_value_support_and_gradients(q: float) -> None:
    full, keep = random_logits(3, 10), torch.tensor([0, 2, 3, 7])
    masked = torch.full_like(full, -math.inf)
    masked[:, keep] = full[:, keep]
    entropy = TsallisEntropy(q)
    policy = entropy.policy(masked)
    torch.testing.assert_close(policy[:, keep], entropy.policy(full[:, keep]))
    assert float(policy.sum()) == pytest.approx(float(policy[:, keep].sum()), abs=0)
    torch.testing.assert_close(entropy.value(masked), entropy.value(full[:, keep]))
    assert entropy.support_size(masked).tolist() == entropy.support_size(full[:, keep]).tolist()
    weight = random_logits(3, 10, seed=1)
    for outcome in (lambda x, w: (entropy.policy(x) * w).sum(), lambda x, w: (entropy.value(x) * w[:, 0]).sum()):
        a, b = masked.clone().requires_grad_(), full[:, keep].clone().requires_grad_()
        (there,) = torch.autograd.grad(outcome(a, weight), a)
        w = weight[:, keep]
        (here,) = torch.autograd.grad(outcome(b, w), b)
        torch.testing.assert_close(there[:, keep], here)
        there[:, keep] = 0.0
        assert (there == 0).all()


@pytest.mark.parametrize("q", INDICES)
def test_a_single_action_has_probability_one_and_its_logit_as_value(q: float) -> None:
    x = torch.tensor([[-math.inf, 3.5, -math.inf], [-math.inf, -math.inf, -2.0]], dtype=torch.float64)
    entropy = TsallisEntropy(q)
    assert entropy.policy(x).tolist() == [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    assert entropy.value(x).tolist() == [3.5, -2.0]
    assert entropy.support_size(x).tolist() == [1, 1]


@pytest.mark.parametrize("q", INDICES)
@pytest.mark.parametrize("lead", [(), (4,), (2, 3), (2, 1, 3), (0,), (2, 0)])
def test_leading_dimensions_are_rows_of_their_own(q: float, lead: tuple[int, ...]) -> None:
    x = random_logits(*lead, 6)
    entropy = TsallisEntropy(q)
    policy, value, size = entropy.policy(x), entropy.value(x), entropy.support_size(x)
    assert policy.shape == x.shape
    assert value.shape == size.shape == lead
    for row, p, v, s in zip(x.reshape(-1, 6), policy.reshape(-1, 6), value.reshape(-1), size.reshape(-1), strict=True):
        torch.testing.assert_close(p, entropy.policy(row))
        torch.testing.assert_close(v, entropy.value(row))
        assert s == entropy.support_size(row)


@pytest.mark.parametrize("q", INDICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_and_returned_in_float32(q: float, dtype: torch.dtype) -> None:
    x = random_logits(3, 50, scale=2.0).to(dtype)
    entropy = TsallisEntropy(q)
    assert entropy.policy(x).dtype == entropy.value(x).dtype == torch.float32
    assert torch.equal(entropy.policy(x), entropy.policy(x.float()))
    assert torch.equal(entropy.value(x), entropy.value(x.float()))
    assert torch.equal(entropy.support_size(x), entropy.support_size(x.float()))


@pytest.mark.parametrize("q", SPARSE)
def test_support_size_counts_the_positive_probabilities(q: float) -> None:
    x = random_logits(20, 100, scale=2.0)
    entropy = TsallisEntropy(q)
    assert entropy.support_size(x).tolist() == (entropy.policy(x) > 0).sum(-1).tolist()
    assert int(entropy.support_size(x).max()) < 100


def test_support_of_softmax_is_every_finite_entry_even_where_the_probability_underflows() -> None:
    x = torch.tensor([0.0, -1000.0, -math.inf])
    assert float(TsallisEntropy(1.0).policy(x)[1]) == 0.0
    assert int(TsallisEntropy(1.0).support_size(x)) == 2


@pytest.mark.parametrize("size", [10, 1000])
@pytest.mark.parametrize("q", [1.01, 1.0001, 1.000001])
def test_policy_and_value_approach_softmax_as_q_approaches_one(q: float, size: int) -> None:
    x = random_logits(4, size, scale=2.0)
    near, limit = TsallisEntropy(q), TsallisEntropy(1.0)
    distance = 50.0 * (q - 1.0)  # |S_q - S_1| is about (q - 1) (S_1 + E[log^2 p] / 2)
    assert float((near.value(x) - limit.value(x)).abs().max()) < distance
    assert float((near.policy(x) - limit.policy(x)).abs().max()) < distance


@pytest.mark.parametrize("size", [10, 1000])
@pytest.mark.parametrize("q", [1.01, 1.0001, 1.000001])
def test_value_in_single_precision_is_accurate_close_to_one_too(q: float, size: int) -> None:
    x = random_logits(4, size, scale=2.0)
    entropy = TsallisEntropy(q)
    assert float((entropy.value(x.float()) - entropy.value(x)).abs().max()) < 1e-3


@pytest.mark.unchecked
@pytest.mark.parametrize("q", INDICES)
@pytest.mark.parametrize(
    ("logits", "said"),
    [
        (torch.tensor([[0.0, 1.0], [-math.inf, -math.inf]]), "-inf"),
        (torch.tensor([0.0, math.nan]), "NaN"),
        (torch.tensor([math.inf, 0.0]), r"\+inf"),
        (torch.tensor(1.0), "shape"),
        (torch.zeros(3, 0), "shape"),
        (torch.tensor([1, 2]), "int64"),
    ],
    ids=["all -inf", "NaN", "+inf", "no dimension", "no action", "integers"],
)
def test_logits_without_a_policy_raise_an_input_error_that_says_why(q: float, logits: Tensor, said: str) -> None:
    entropy = TsallisEntropy(q)
    for call in (entropy.policy, entropy.value, entropy.support_size):
        with pytest.raises(InputError, match=said):
            call(logits)


@pytest.mark.parametrize("q", [0.999, 0.0, -2.0, math.nan, math.inf, -math.inf])
def test_an_entropic_index_below_one_or_not_finite_raises_an_input_error_that_names_it(q: float) -> None:
    with pytest.raises(InputError, match=str(q)):
        TsallisEntropy(q)


def rows(low: float = -8.0, high: float = 8.0) -> st.SearchStrategy[Tensor]:
    finite = hnp.arrays(np.float64, st.integers(1, 12), elements=st.floats(low, high))
    return finite.map(torch.from_numpy)


indices = st.sampled_from(INDICES) | st.floats(1.0, 50.0)


@given(x=rows(), q=indices)
def test_policy_is_a_distribution_whatever_the_logits(x: Tensor, q: float) -> None:
    p = TsallisEntropy(q).policy(x)
    assert (p >= 0).all()
    assert float(p.sum()) == pytest.approx(1.0, abs=1e-9)


@given(x=rows(), q=indices, seed=st.integers(0, 1000))
def test_policy_and_value_do_not_depend_on_the_order_of_the_actions(x: Tensor, q: float, seed: int) -> None:
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    entropy = TsallisEntropy(q)
    torch.testing.assert_close(entropy.policy(x[order]), entropy.policy(x)[order], atol=1e-9, rtol=0)
    torch.testing.assert_close(entropy.value(x[order]), entropy.value(x), atol=1e-9, rtol=0)


@given(x=rows(), q=indices)
def test_a_larger_logit_never_has_a_smaller_probability(x: Tensor, q: float) -> None:
    p = TsallisEntropy(q).policy(x)[x.argsort()]
    assert (p.diff() >= -1e-12).all()


@given(x=rows(), q=st.sampled_from(SPARSE), heat=st.floats(1.01, 20.0))
def test_a_higher_temperature_never_drops_an_action_from_the_support(x: Tensor, q: float, heat: float) -> None:
    entropy = TsallisEntropy(q)
    cold, hot = entropy.policy(x), entropy.policy(x / heat)
    assert (hot[cold > 1e-9] > 0).all()  # at exactly zero, rounding decides


@given(x=rows(), q=indices)
def test_value_lies_between_the_largest_logit_and_that_plus_the_largest_entropy(x: Tensor, q: float) -> None:
    value, n = float(TsallisEntropy(q).value(x)), len(x)
    assert float(x.max()) - 1e-9 <= value <= float(x.max()) + tsallis(np.full(n, 1.0 / n), q) + 1e-9

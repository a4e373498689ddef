"""The losses on a problem small enough to be solved exactly: three tokens, prompts of three, random rewards."""

import itertools
import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from hardprompt.optimizers.qlearning.entropy import TsallisEntropy
from hardprompt.optimizers.qlearning.losses import LOSSES, Values, monte_carlo, path_consistency, single_step

VOCABULARY, LENGTH = 3, 3
PROMPTS = list(itertools.product(range(VOCABULARY), repeat=LENGTH))
PREFIXES = [p for t in range(LENGTH) for p in itertools.product(range(VOCABULARY), repeat=t)]


class Solved(NamedTuple):
    """The fixed point of backward dynamic programming, and the problem that it solves."""

    reward: dict[tuple[int, ...], float]
    log_p: dict[tuple[int, ...], Tensor]  # of the next token under the language model
    action: dict[tuple[int, ...], Tensor]  # Q of each next token
    state: dict[tuple[int, ...], float]  # V
    policy: dict[tuple[int, ...], Tensor]

    def values(self) -> Values:
        """Every prompt once, both networks at the fixed point."""
        q = torch.tensor([[self.action[z[:t]][z[t]] for t in range(LENGTH)] for z in PROMPTS], dtype=torch.float64)
        v = torch.tensor([[self.state[z[:t]] for t in range(LENGTH)] for z in PROMPTS], dtype=torch.float64)
        rewards = torch.tensor([self.reward[z] for z in PROMPTS], dtype=torch.float64)
        return Values(q, rewards, v, v.clone())


def solve(q: float, beta: float, gamma: float = 1.0, seed: int = 0) -> Solved:
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(len(PROMPTS), generator=generator, dtype=torch.float64)
    reward = dict(zip(PROMPTS, draw.tolist(), strict=True))
    log_p = {p: torch.randn(VOCABULARY, generator=generator, dtype=torch.float64).log_softmax(-1) for p in PREFIXES}
    entropy = TsallisEntropy(q)
    solved = Solved(reward, log_p, {}, {}, {})
    for prefix in reversed(PREFIXES):  # longest first
        following = [(*prefix, token) for token in range(VOCABULARY)]
        action = torch.tensor(
            [reward[z] if len(z) == LENGTH else gamma * solved.state[z] for z in following], dtype=torch.float64
        )
        logits = action + beta * log_p[prefix]
        solved.action[prefix] = action
        solved.state[prefix] = float(entropy.value(logits))
        solved.policy[prefix] = entropy.policy(logits)
    return solved


every_setting = pytest.mark.parametrize(("q", "beta"), list(itertools.product((1.0, 1.5, 2.0), (0.0, 0.3))))


def written_out(name: str, values: Values, gamma: float) -> float:
    """Each loss as a loop over prompts and places, straight from its definition."""
    q, r = values.q.tolist(), values.rewards.tolist()
    v = values.v.tolist() if values.v is not None else []
    slow = values.target_v.tolist() if values.target_v is not None else []
    total, n, length = 0.0, len(q), len(q[0])
    for i, t in itertools.product(range(n), range(length)):
        last = t == length - 1
        if name == "monte_carlo":
            total += (q[i][t] - gamma ** (length - 1 - t) * r[i]) ** 2
        elif name == "single_step":
            total += (q[i][t] - (r[i] if last else gamma * slow[i][t + 1])) ** 2
        else:
            one = q[i][t] - v[i][t] - ((r[i] if last else slow[i][t + 1]) - slow[i][t])
            many = sum(q[i][s] - v[i][s] for s in range(t, length)) - (r[i] - slow[i][t])
            total += (one**2 + many**2) / 2.0
    return total / (n * length)


def random_values(seed: int = 0) -> Values:
    generator = torch.Generator().manual_seed(seed)
    q, v, target_v = torch.randn(3, 5, 4, generator=generator, dtype=torch.float64)
    return Values(q, torch.randn(5, generator=generator, dtype=torch.float64), v, target_v)


@every_setting
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_single_step_vanishes_at_the_fixed_point(q: float, beta: float, gamma: float) -> None:
    assert float(single_step(solve(q, beta, gamma).values(), gamma=gamma)) == 0.0


@every_setting
def test_path_consistency_vanishes_at_the_fixed_point(q: float, beta: float) -> None:
    assert float(path_consistency(solve(q, beta).values(), gamma=1.0)) == pytest.approx(0.0, abs=1e-28)


@every_setting
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_monte_carlo_at_the_fixed_point_is_the_mean_squared_distance_to_the_outcome(
    q: float, beta: float, gamma: float
) -> None:
    solved = solve(q, beta, gamma)
    distances = [
        (float(solved.action[z[:t]][z[t]]) - gamma ** (LENGTH - 1 - t) * solved.reward[z]) ** 2
        for z in PROMPTS
        for t in range(LENGTH)
    ]
    loss = float(monte_carlo(solved.values(), gamma=gamma))
    assert loss == pytest.approx(sum(distances) / len(distances), rel=1e-12)
    assert loss > 0.1  # its own fixed point is another: the mean outcome


def test_monte_carlo_vanishes_where_every_value_is_the_discounted_outcome() -> None:
    rewards = torch.tensor([2.0, -1.0], dtype=torch.float64)
    q = rewards[:, None] * torch.tensor([0.25, 0.5, 1.0], dtype=torch.float64)
    assert float(monte_carlo(Values(q, rewards), gamma=0.5)) == 0.0


@every_setting
def test_advantages_obey_both_consistency_equations_at_the_fixed_point(q: float, beta: float) -> None:
    solved = solve(q, beta)
    for z in PROMPTS:
        v = [solved.state[z[:t]] for t in range(LENGTH)]
        advantage = [float(solved.action[z[:t]][z[t]]) - v[t] for t in range(LENGTH)]
        for t in range(LENGTH):
            ahead = solved.reward[z] if t == LENGTH - 1 else v[t + 1]
            assert advantage[t] == pytest.approx(ahead - v[t], abs=1e-12)
            assert sum(advantage[t:]) == pytest.approx(solved.reward[z] - v[t], abs=1e-12)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_at_one_the_policy_over_whole_prompts_is_the_tilted_language_model(beta: float) -> None:
    solved = solve(1.0, beta)
    joint = [math.prod(float(solved.policy[z[:t]][z[t]]) for t in range(LENGTH)) for z in PROMPTS]
    weights = [
        math.exp(solved.reward[z] + beta * sum(float(solved.log_p[z[:t]][z[t]]) for t in range(LENGTH)))
        for z in PROMPTS
    ]
    assert joint == pytest.approx([w / sum(weights) for w in weights], rel=1e-10)
    assert solved.state[()] == pytest.approx(math.log(sum(weights)), rel=1e-10)


@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_at_one_the_advantage_is_log_policy_minus_the_weighted_log_prior(beta: float) -> None:
    solved = solve(1.0, beta)
    for prefix in PREFIXES:
        expected = solved.policy[prefix].log() - beta * solved.log_p[prefix]
        torch.testing.assert_close(solved.action[prefix] - solved.state[prefix], expected)


@every_setting
@pytest.mark.parametrize("name", ["single_step", "path_consistency"])
@pytest.mark.parametrize("place", range(LENGTH))
def test_a_wrong_action_value_anywhere_makes_the_consistency_losses_positive(
    name: str, place: int, q: float, beta: float
) -> None:
    values = solve(q, beta).values()
    wrong = values.q.clone()
    wrong[4, place] += 0.1
    assert float(LOSSES[name].of(values._replace(q=wrong), gamma=1.0)) > 1e-5


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("gamma", [1.0, 0.7])
def test_loss_equals_its_definition_written_out(name: str, gamma: float) -> None:
    if name == "path_consistency":
        gamma = 1.0
    values = random_values()
    assert float(LOSSES[name].of(values, gamma=gamma)) == pytest.approx(written_out(name, values, gamma), rel=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_gradient_equals_central_finite_differences(name: str) -> None:
    values = random_values()
    step = 1e-5
    inputs = ("q", "v") if name == "path_consistency" else ("q",)
    for what in inputs:
        leaf = getattr(values, what).clone().requires_grad_()
        (gradient,) = torch.autograd.grad(LOSSES[name].of(values._replace(**{what: leaf}), gamma=1.0), leaf)
        for i, t in itertools.product(range(5), range(4)):
            sides = []
            for sign in (1.0, -1.0):
                moved = getattr(values, what).clone()
                moved[i, t] += sign * step
                sides.append(written_out(name, values._replace(**{what: moved}), 1.0))
            assert float(gradient[i, t]) == pytest.approx((sides[0] - sides[1]) / (2 * step), abs=1e-8)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_of_prompts_of_one_token_is_the_squared_distance_of_value_and_reward(name: str) -> None:
    values = Values(torch.tensor([[1.5]]), torch.tensor([1.0]), torch.tensor([[0.3]]), torch.tensor([[0.3]]))
    assert float(LOSSES[name].of(values, gamma=1.0)) == pytest.approx(0.25)


@pytest.mark.parametrize("name", ["single_step", "path_consistency"])
def test_a_loss_without_the_state_values_that_it_needs_raises(name: str) -> None:
    with pytest.raises(ValueError, match="state values"):
        LOSSES[name].of(Values(torch.zeros(2, 3), torch.zeros(2)), gamma=1.0)


def test_monte_carlo_needs_no_state_values() -> None:
    assert float(monte_carlo(Values(torch.zeros(2, 3), torch.ones(2)), gamma=1.0)) == 1.0

"""Fidelity of the methods that need more than rewards: each on a problem whose answer is known."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hardprompt.lms.vectors import substituted, token_vectors
from hardprompt.optimizers.gradient.bbt import BBT
from hardprompt.optimizers.gradient.coordinate import autoprompt, gcg
from hardprompt.optimizers.gradient.objective import draw, flips, gradient
from hardprompt.optimizers.gradient.pez import PEZ
from hardprompt.optimizers.gradient.soft import SoftPrompts
from hardprompt.optimizers.gradient.soft_prompt import SoftPrompt
from hardprompt.search.engine import optimize
from tests.conftest import make_tiny

WORDS = (
    "great", "film", "good", "story", "man", "woman", "sea", "food", "dog", "world", "news", "game", "music",
    "morning", "friend", "house", "water", "book", "sun", "wind", "time", "day", "market", "people",
)  # fmt: skip
PLANTED = " sea music dog"
TEXTS = ("The", "It was a", "We went to")


class Planted:
    """How far a tiny model's next word after some texts is from what it would be with the planted prompt."""

    soft = None

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.model = tokenizer, make_tiny("llama")
        self.embedding = self.model.get_input_embeddings()
        self.table = token_vectors(self.embedding)
        self.opens = self.follows = torch.zeros(len(self.table), dtype=torch.bool)
        for word in WORDS:
            (token,) = tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
            self.opens[token] = True
        self.goal = self.predictions(self.vectors(PLANTED)).detach()

    def vectors(self, *prompts: str) -> Tensor:
        return torch.stack([self.table[self.tokenizer(p, add_special_tokens=False)["input_ids"]] for p in prompts])

    def predictions(self, vectors: Tensor) -> Tensor:
        found = []
        for text in TEXTS:
            left = self.tokenizer(text)["input_ids"]
            ids = torch.tensor([[*left, *[5] * vectors.shape[1]]] * len(vectors))
            with substituted(self.embedding, torch.full((len(vectors),), len(left)), vectors):
                found.append(self.model(input_ids=ids).logits[:, -1].log_softmax(-1))
        return torch.stack(found, 1)

    def loss(self, vectors: Tensor) -> Tensor:
        mine = self.predictions(vectors)
        return (self.goal.exp() * (self.goal - mine)).sum(-1).mean(-1)

    def text(self, ids: Any) -> str:
        return str(self.tokenizer.decode(ids))

    def parts(self, vectors: Tensor) -> Any:
        yield self.loss(vectors)

    def reward(self, prompts: list[str]) -> Tensor:
        return -self.loss(self.vectors(*prompts)).detach()


@pytest.fixture(scope="module")
def planted(tiny_tokenizer: Any) -> Planted:
    return Planted(tiny_tokenizer)


@pytest.mark.parametrize("build", [autoprompt, gcg])
def test_the_planted_prompt_of_a_tiny_model_is_recovered(planted: Planted, build: Any) -> None:
    found = [
        optimize(build(objective=planted, length=3, seed=seed), planted.reward, evaluations=480).best.prompt
        for seed in range(5)
    ]
    # One of 13,824 prompts, which chance meets in 3 of 100 searches; a climber can end on another hill.
    assert found.count(PLANTED) >= 3


def test_flips_are_the_change_of_a_linear_loss(planted: Planted) -> None:
    class Linear(Planted):
        def __init__(self, other: Planted) -> None:
            vars(self).update(vars(other))
            self.weight = torch.randn(2, self.table.shape[1], generator=torch.Generator().manual_seed(0))

        def loss(self, vectors: Tensor) -> Tensor:
            return (vectors * self.weight).sum((-1, -2))

    linear = Linear(planted)
    ids = draw(linear, 2, torch.Generator().manual_seed(1))
    loss, slope = gradient(linear, linear.table[ids][None])
    change = flips(linear, ids, slope[0])
    for place in range(2):
        for token in range(len(linear.table)):
            other = [*ids[:place], token, *ids[place + 1 :]]
            if linear.opens[token]:
                expected = float(linear.loss(linear.table[other][None]) - loss)
                assert float(change[place, token]) == pytest.approx(expected, abs=1e-5)
            else:
                assert change[place, token] == torch.inf


@given(st.integers(0, 2**31 - 1))
def test_pez_projects_onto_the_token_of_the_highest_cosine(planted: Planted, seed: int) -> None:
    pez = PEZ(objective=planted, length=3)
    pez.vectors.data = torch.randn(3, planted.table.shape[1], generator=torch.Generator().manual_seed(seed))
    for vector, found in zip(pez.vectors, pez.nearest().tolist(), strict=True):
        cosines = {
            token: float(torch.cosine_similarity(vector.detach(), planted.table[token], dim=0))
            for token in planted.opens.nonzero()[:, 0].tolist()
        }
        assert cosines[found] == pytest.approx(max(cosines.values()), abs=1e-6)


def test_pez_at_a_tokens_own_vector_stays_there(planted: Planted) -> None:
    pez = PEZ(objective=planted, length=3)
    pez.vectors.data = planted.vectors(PLANTED)[0].clone()
    assert planted.tokenizer.decode(pez.nearest()) == PLANTED


def test_pez_takes_the_gradient_at_the_projection_and_gives_it_to_the_vectors(planted: Planted) -> None:
    pez = PEZ(objective=planted, length=3, seed=1, passes=1, learning_rate=0.1, weight_decay=0.0)
    before = pez.vectors.detach().clone()
    _, slope = gradient(planted, planted.table[pez.nearest()][None])
    pez.ask()
    # the first step of Adam is the sign of the gradient
    torch.testing.assert_close(pez.vectors.detach(), before - 0.1 * slope[0].sign(), atol=1e-3, rtol=1e-3)


class Quadratic:
    """Soft prompts whose loss is the squared distance from a target."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.table = torch.randn(40, 8, generator=generator)
        self.goal = self.table[7:9] + 0.3 * torch.randn(2, 8, generator=generator)
        self.opens = self.follows = torch.ones(40, dtype=torch.bool)
        self.tokenizer, self.soft = None, SoftPrompts()

    def loss(self, vectors: Tensor) -> Tensor:
        return ((vectors - self.goal) ** 2).sum((-1, -2))

    def text(self, ids: Any) -> str:
        raise NotImplementedError

    def parts(self, vectors: Tensor) -> Any:
        yield self.loss(vectors)

    def reward(self, prompts: list[str]) -> Tensor:
        return -self.loss(torch.stack([self.soft[p] for p in prompts]))


@pytest.mark.parametrize("seed", range(3))
def test_bbt_improves_on_a_quadratic(seed: int) -> None:
    problem = Quadratic()
    rewards: list[float] = []
    optimize(
        BBT(objective=problem, length=2, seed=seed, dimensions=12), problem.reward, evaluations=1600,
        callbacks=[lambda step: rewards.append(max(step.rewards))],
    )  # fmt: skip
    assert rewards[-1] > 0.5 * rewards[0]
    # No point of its subspace is better: the answer of least squares, which knows the target.
    search = BBT(objective=problem, length=2, seed=seed, dimensions=12)
    gap = (problem.goal - search._origin).flatten()
    residual = torch.linalg.lstsq(search._project.T, gap[:, None]).solution
    floor = float(((search._project.T @ residual)[:, 0] - gap).square().sum())
    assert -rewards[-1] == pytest.approx(floor, rel=0.05)


def test_soft_prompts_follow_adam_from_tokens_of_the_vocabulary() -> None:
    problem = Quadratic()
    optimizer = SoftPrompt(objective=problem, length=2, seed=3, passes=5, learning_rate=0.05)
    vectors = optimizer._embedding.weight.detach().clone().requires_grad_(True)
    assert all(any(torch.equal(row, token) for token in problem.table) for row in vectors)
    adam = torch.optim.Adam([vectors], lr=0.05)
    for _ in range(5):
        adam.zero_grad()
        problem.loss(vectors[None]).sum().backward()
        adam.step()
    (name,) = optimizer.ask().prompts
    torch.testing.assert_close(problem.soft[name], vectors.detach())


def test_soft_prompts_are_forgotten_unless_the_search_stood_by_them() -> None:
    problem = Quadratic()
    result = optimize(SoftPrompt(objective=problem, length=2, passes=3), problem.reward, evaluations=400)
    assert all(trial.prompt in problem.soft for trial in result.trials)
    assert len(problem.soft) <= len(result.trials) + 1 < 100


def test_a_task_that_reads_texts_only_takes_no_soft_prompt(planted: Planted) -> None:
    for build in (BBT, SoftPrompt):
        with pytest.raises(ValueError, match="reads texts only"):
            build(objective=planted)

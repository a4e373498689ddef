"""The promises that every registered search method keeps."""

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from hardprompt import optimizers
from hardprompt.data.tables import Example
from hardprompt.errors import InputError
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.policy import PolicyLM
from hardprompt.lms.vocabulary import survives
from hardprompt.optimizers.gradient.objective import SoftPrompts
from hardprompt.search.engine import optimize
from hardprompt.tasks.classify.demonstrations import Demonstrations
from hardprompt.tasks.classify.reward import Classification
from hardprompt.tasks.template import Template

NAMES = sorted(optimizers.methods())
FIXED = {"manual", "instruction", "demonstrations"}  # propose one prompt, once
SOFT = {"soft-prompt", "bbt"}  # propose vectors
SEARCHES = sorted(set(NAMES) - FIXED)
OF_LENGTH = sorted(set(SEARCHES) - SOFT - {"grips", "pez"})  # of so many tokens, which come back from their text
PHRASE = " Say in one word if the film is good or bad, and be kind to the people"


def reward(prompts: list[str]) -> torch.Tensor:
    return torch.tensor([float(len(set(p))) - 0.1 * len(p) for p in prompts])


@pytest.fixture
def build(tiny_causal: Any) -> Callable[..., Any]:
    def make(name: str, seed: int = 0) -> Any:
        method = optimizers.find(name)
        settings = dict(method.settings)
        if settings.get("top_k"):
            settings["top_k"] = 100
        lm = CausalLM(*tiny_causal)
        examples = [Example("The film was great", "good"), Example("The food was cold", "bad"), Example("Old", "bad")]
        task = Classification(
            lm=lm, examples=examples, template=Template("{text}{prompt}"),
            verbalizers={"good": " great", "bad": " bad"}, soft=SoftPrompts(),
        )  # fmt: skip
        given = {
            "policy": lambda: PolicyLM(*tiny_causal, tokens=method.tokens),
            "length": lambda: 3,
            "seed": lambda: seed,
            "manual": lambda: " It was",
            "instruction": lambda: PHRASE,
            "phrase": lambda: PHRASE,
            "examples": lambda: Demonstrations(examples, lambda e: f"{e.text} {e.label}\n", 100, lm.count),
            "objective": lambda: task.objective(tokens=method.tokens),
        }
        assert set(given) == set(optimizers.GIVEN)
        return method.build(**{thing: given[thing]() for thing in method.needs}, **settings)

    return make


@pytest.mark.parametrize("name", OF_LENGTH)
def test_it_proposes_strings_that_survive_retokenisation(
    name: str, build: Callable[..., Any], tiny_causal: Any
) -> None:
    optimizer = build(name)
    for _ in range(3):
        proposal = optimizer.ask()
        assert proposal.prompts
        for prompt in proposal.prompts:
            ids = tiny_causal.tokenizer(prompt, add_special_tokens=False)["input_ids"]
            assert len(ids) == 3
            assert survives(tiny_causal.tokenizer, ids)
        log = optimizer.tell(proposal, reward(proposal.prompts).double())
        assert all(isinstance(v, float) for v in log.values())


@pytest.mark.parametrize("name", SEARCHES)
def test_the_seed_decides_everything(name: str, build: Callable[..., Any]) -> None:
    runs = [optimize(build(name, seed), reward, evaluations=64) for seed in (0, 0, 1)]
    assert runs[0].trials == runs[1].trials
    assert runs[0].trials != runs[2].trials


@pytest.mark.parametrize("name", sorted(FIXED))
def test_what_is_not_searched_for_is_proposed_once(name: str, build: Callable[..., Any]) -> None:
    result = optimize(build(name), reward, evaluations=64)
    assert (result.evaluations, result.passes, result.stopped) == (1, 0, "nothing left to try")
    assert [trial.prompt for trial in result.trials] == build(name).recommend()


@pytest.mark.parametrize("name", SEARCHES)
def test_it_spends_the_budget_and_no_more(name: str, build: Callable[..., Any]) -> None:
    steps: list[Any] = []
    result = optimize(build(name), reward, evaluations=70, callbacks=[steps.append])
    widths = [b.evaluations - a.evaluations for a, b in itertools.pairwise(steps)]
    assert 70 - max(widths) < result.evaluations <= 70
    assert result.evaluations == sum(len(step.prompts) for step in steps) + result.passes
    needs = optimizers.find(name).needs
    assert (result.passes > 0) == ("objective" in needs and name != "bbt")  # which asks for rewards alone


@pytest.mark.parametrize("name", SEARCHES)
def test_it_recommends_strings_of_which_the_best_seen_is_one(name: str, build: Callable[..., Any]) -> None:
    optimizer = build(name)
    seen: dict[str, float] = {}
    for _ in range(2):
        proposal = optimizer.ask()
        rewards = reward(proposal.prompts).double()
        seen.update(zip(proposal.prompts, rewards.tolist(), strict=True))
        optimizer.tell(proposal, rewards)
    best = max(seen.values())
    assert any(seen.get(prompt) == best for prompt in optimizer.recommend())


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_state_continues_bit_for_bit(name: str, build: Callable[..., Any], tmp_path: Any) -> None:
    from hardprompt.search.files import StateStore

    optimizer = build(name)
    for _ in range(2):
        proposal = optimizer.ask()
        if proposal.prompts:
            optimizer.tell(proposal, reward(proposal.prompts).double())
    optimizer.recommend()  # as a validation would
    StateStore(tmp_path).save(2, optimizer.state_dict())
    other = build(name, seed=9)
    other.load_state_dict(StateStore(tmp_path).load())
    for _ in range(2):
        proposals = [o.ask() for o in (optimizer, other)]
        assert proposals[0].prompts == proposals[1].prompts
        if not proposals[0].prompts:
            continue
        logs = [o.tell(p, reward(p.prompts).double()) for o, p in zip((optimizer, other), proposals, strict=True)]
        assert logs[0] == logs[1]
    assert optimizer.recommend() == other.recommend()


@pytest.mark.parametrize("name", NAMES)
def test_its_settings_are_its_constructors_and_plain_values(name: str) -> None:
    method = optimizers.methods()[name]
    accepted = method.accepted()
    assert set(method.settings) <= set(accepted)
    json.dumps(accepted)
    assert method.summary
    assert method.source


def test_an_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=r"Did you mean 'rlprompt'.*best-of-n"):
        optimizers.find("rl-prompt")


def test_a_class_of_the_users_own_is_found_by_its_path() -> None:
    assert optimizers.find("hardprompt.optimizers.best_of_n:BestOfN").build is optimizers.find("best-of-n").build


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("pin", {"q": 2.0, "alpha": 1.0, "top_k": 10_000, "replay": 100_000, "loss": "monte_carlo", "prior": 0.0}),
        ("pin-no-fluency", {"q": 2.0, "top_k": None, "replay": 100_000}),
        (
            "rlprompt",
            {"q": 1.0, "alpha": 0.2, "top_k": None, "replay": 0, "sample_top": 256, "loss": "path_consistency"},
        ),
        ("rlprompt-fluency", {"q": 1.0, "top_k": 10_000, "replay": 0}),
        ("rlprompt-rb", {"q": 1.0, "top_k": None, "replay": 100_000}),
        ("rlprompt-rb-fluency", {"q": 1.0, "top_k": 10_000, "replay": 100_000}),
    ],
)
def test_a_preset_named_after_a_paper_has_its_values(name: str, settings: dict[str, Any]) -> None:
    method = optimizers.methods()[name]
    shared = {"learning_rate": 5e-5, "batch": 256, "proposals": 16, "hidden": 2048, "redraws": 0, "normalise": "step"}
    accepted = method.accepted()
    assert {k: accepted[k] for k in (settings | shared)} == settings | shared
    assert method.tokens == "any"
    assert not method.in_place


@pytest.mark.unchecked
@pytest.mark.parametrize("name", sorted(n for n in NAMES if "objective" in optimizers.find(n).needs))
def test_a_method_of_gradients_refuses_a_reward_that_has_none(name: str) -> None:
    with pytest.raises(InputError, match="gradients of a loss"):
        optimizers.find(name).build(objective=reward)

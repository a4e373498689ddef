"""Every registered search method keeps the promises of ``hardprompt.testing``, and those of our own ones."""

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from hardprompt import optimizers, testing
from hardprompt.data.tables import Example
from hardprompt.errors import InputError
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.policy import PolicyLM
from hardprompt.lms.vocabulary import survives
from hardprompt.optimizers import Need
from hardprompt.optimizers.gradient.soft import SoftPrompts
from hardprompt.search.engine import optimize
from hardprompt.tasks.classify.demonstrations import Demonstrations
from hardprompt.tasks.classify.reward import Classification
from hardprompt.tasks.template import Template
from hardprompt.testing.optimizer import worth

NAMES = sorted(optimizers.methods())
FIXED = {"manual", "instruction", "demonstrations"}  # propose one prompt, once
SOFT = {"soft-prompt", "bbt"}  # propose vectors
SEARCHES = sorted(set(NAMES) - FIXED)
OF_LENGTH = sorted(set(SEARCHES) - SOFT - {"grips", "pez"})  # of so many tokens, which come back from their text
PHRASE = " Say in one word if the film is good or bad, and be kind to the people"


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
            Need.POLICY: lambda: PolicyLM(*tiny_causal, tokens=method.tokens),
            Need.LENGTH: lambda: 3,
            Need.SEED: lambda: seed,
            Need.MANUAL: lambda: " It was",
            Need.INSTRUCTION: lambda: PHRASE,
            Need.PHRASE: lambda: PHRASE,
            Need.EXAMPLES: lambda: Demonstrations(examples, lambda e: f"{e.text} {e.label}\n", 100, lm.count),
            Need.OBJECTIVE: lambda: task.objective(tokens=method.tokens),
        }
        assert set(given) == set(Need)
        return method.build(**{str(need): given[need]() for need in method.needs}, **settings)

    return make


@pytest.mark.parametrize("check", testing.OPTIMIZER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_it_keeps_the_promises_of_an_optimizer(name: str, check: Any, build: Callable[..., Any]) -> None:
    check(lambda seed: build(name, seed))


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
        optimizer.tell(proposal, worth(proposal.prompts))


@pytest.mark.parametrize("name", SEARCHES)
def test_another_seed_makes_another_search(name: str, build: Callable[..., Any]) -> None:
    runs = [optimize(build(name, seed), worth, evaluations=64) for seed in (0, 1)]
    assert runs[0].trials != runs[1].trials


@pytest.mark.parametrize("name", sorted(FIXED))
def test_what_is_not_searched_for_is_proposed_once(name: str, build: Callable[..., Any]) -> None:
    result = optimize(build(name), worth, evaluations=64)
    assert (result.evaluations, result.passes, result.stopped) == (1, 0, "nothing left to try")
    assert [trial.prompt for trial in result.trials] == build(name).recommend()


@pytest.mark.parametrize("name", SEARCHES)
def test_it_spends_the_budget_but_for_less_than_a_step(name: str, build: Callable[..., Any]) -> None:
    steps: list[Any] = []
    result = optimize(build(name), worth, evaluations=70, callbacks=[steps.append], validate=worth)
    widths = [b.evaluations - a.evaluations for a, b in itertools.pairwise(steps)]
    assert 70 - max(widths) < result.evaluations <= 70
    assert result.evaluations == sum(len(step.prompts) for step in steps) + result.passes
    needs = optimizers.find(name).needs
    assert (result.passes > 0) == (Need.OBJECTIVE in needs and name != "bbt")  # which asks for rewards alone


@pytest.mark.parametrize("name", sorted(set(SEARCHES) - {"bbt"}))
def test_a_budget_smaller_than_a_step_is_spent_too(name: str, build: Callable[..., Any]) -> None:
    """But for what no step fits into: a prompt with its gradient costs two."""
    result = optimize(build(name), worth, evaluations=10, validate=worth)
    assert 9 <= result.evaluations <= 10


def test_a_population_is_proposed_whole_or_not_at_all(build: Callable[..., Any]) -> None:
    assert build("bbt").ask(15).prompts == []
    assert len(build("bbt").ask(16).prompts) == 16
    with pytest.raises(InputError, match="its first step needs more"):
        optimize(build("bbt"), worth, evaluations=15)


@pytest.mark.parametrize("name", NAMES)
def test_its_settings_are_its_constructors_and_plain_values(name: str) -> None:
    method = optimizers.methods()[name]
    accepted = method.accepted()
    assert set(method.settings) <= set(accepted)
    assert {*optimizers.FLAGS} & {*method.settings} == {*optimizers.FLAGS} & {*accepted}
    json.dumps(accepted)
    assert method.summary
    assert method.source


def test_an_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=r"Did you mean 'rlprompt'.*best-of-n"):
        optimizers.find("rl-prompt")


def test_a_class_of_the_users_own_is_found_by_its_path_and_says_what_it_needs() -> None:
    method = optimizers.find("tests.contract.faulty:Spendthrift")
    assert method.needs == {Need.SEED}
    assert method.summary == "Proposes as many as ever, whatever is left."
    with pytest.raises(InputError, match=r"does not say what it needs.*policy, length"):
        optimizers.find("hardprompt.optimizers.best_of_n:BestOfN")
    with pytest.raises(InputError, match=r"needs .*'colour'"):
        optimizers.find("tests.contract.faulty:Demanding")


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
@pytest.mark.parametrize("name", sorted(n for n in NAMES if Need.OBJECTIVE in optimizers.find(n).needs))
def test_a_method_of_gradients_refuses_a_reward_that_has_none(name: str) -> None:
    with pytest.raises(InputError, match="gradients of a loss"):
        optimizers.find(name).build(objective=worth)

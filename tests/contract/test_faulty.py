"""The contract suites can fail: each planted fault is caught, by the check that is meant to, with its reason."""

from collections.abc import Callable
from typing import Any

import pytest

from hardprompt import testing
from hardprompt.optimizers import Need
from hardprompt.search.engine import Trial
from tests.contract import faulty

LACKS = {Need.EXAMPLES, Need.OBJECTIVE}


def failures(checks: Any, *subject: Any) -> dict[str, str]:
    """The checks that fail, with what they say."""
    found = {}
    for check in checks:
        try:
            check(*subject)
        except AssertionError as error:
            found[check.__name__] = str(error)
    return found


def test_what_has_no_fault_passes() -> None:
    testing.check_optimizer(lambda seed: faulty.Counting(seed=seed))
    testing.check_reward(faulty.Letters)
    testing.check_reward(lambda: faulty.lengths)
    testing.check_task(testing.TaskCase(build=faulty.task, lacks=LACKS, figure="reward"))


@pytest.mark.parametrize(
    ("kind", "caught", "message"),
    [
        (faulty.Spendthrift, {"costs_no_more_than_its_room", "stays_within_the_budget"}, r"ask\(1\).*costs 4"),
        (faulty.Secretive, {"costs_no_more_than_its_room"}, "proposes nothing, and made 1 passes"),
        (faulty.Forgetful, {"goes_on_from_a_saved_state"}, r"at place 0.*' 8'.*' 9000'"),
        (faulty.Moody, {"follows_its_seed", "goes_on_from_a_saved_state"}, "two searches of one seed"),
        (faulty.Humble, {"recommends_the_best_seen"}, "without the best seen"),
    ],
)
def test_a_faulty_optimizer_is_caught(kind: Any, caught: set[str], message: str) -> None:
    def build(seed: int) -> Any:
        return kind(seed=seed)

    found = failures(testing.OPTIMIZER_CHECKS, build)
    assert set(found) == caught
    with pytest.raises(AssertionError, match=message):
        testing.check_optimizer(build)


@pytest.mark.unchecked
def test_an_optimizer_without_words_or_methods_is_caught() -> None:
    with pytest.raises(AssertionError, match=r"proposed \[0\], which is no string"):
        testing.check_optimizer(lambda seed: faulty.Wordless(seed=seed))
    with pytest.raises(AssertionError, match="object is no PromptOptimizer"):
        testing.check_optimizer(lambda seed: object())  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("kind", "caught"),
    [
        (faulty.Sociable, {"keeps_no_company", "aggregates_to_itself"}),
        (faulty.Crooked, {"scores_items"}),
        (faulty.Other, {"aggregates_to_itself"}),
        (faulty.Endless, {"is_finite", "aggregates_to_itself"}),
        (faulty.Drifting, {"keeps_no_company", "stays_the_same", "aggregates_to_itself"}),
    ],
)
def test_a_faulty_reward_is_caught(kind: Callable[[], Any], caught: set[str]) -> None:
    prompts = (" It was", " In one word:", " The answer is", " Xo")
    found = failures((*testing.REWARD_CHECKS, *testing.ITEM_REWARD_CHECKS), kind, prompts)
    assert set(found) == caught
    with pytest.raises(AssertionError):
        testing.check_reward(kind, prompts)


def test_a_reward_that_depends_on_company_is_told_so() -> None:
    with pytest.raises(AssertionError, match="must not depend on company; alone and together: they differ by up to"):
        testing.check_reward(faulty.Sociable)


@pytest.mark.parametrize(
    ("changes", "caught", "message"),
    [
        ({"leads": "no"}, {"is_a_task"}, "leads is a str"),
        (
            {"reward": faulty.Amnesiac()},
            {"reward_remembers_and_resumes"},
            "scored 0 times",
        ),
        ({"validate": faulty.Sociable()}, {"rewards_are_finite"}, "company"),
        (
            {"choose": lambda trials, perplexity: Trial(0, "mine", 1.0)},
            {"chooses_a_trial"},
            "none of the trials",
        ),
        ({"report": lambda prompt: {"test": {"reward": 1.0}}}, {"reports_as_json"}, "no list 'baselines'"),
        ({"report": lambda prompt: {"test": {}, "baselines": []}}, {"reports_as_json"}, "no 'reward'"),
    ],
)
def test_a_faulty_task_is_caught(changes: dict[str, Any], caught: set[str], message: str) -> None:
    case = testing.TaskCase(build=lambda: faulty.task(**changes), lacks=LACKS, figure="reward")
    found = failures(testing.TASK_CHECKS, case)
    assert set(found) == caught
    with pytest.raises(AssertionError, match=message):
        testing.check_task(case)


def test_a_task_that_lacks_what_it_promised_is_caught() -> None:
    case = testing.TaskCase(build=faulty.task, lacks={Need.EXAMPLES})
    with pytest.raises(AssertionError, match=r"give\(OBJECTIVE\) raised: the method needs the gradient of a loss"):
        testing.check_task(case)

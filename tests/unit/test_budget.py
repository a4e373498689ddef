"""The budget against a plain simulation: asked before anything is spent, and never exceeded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardprompt.errors import InputError
from hardprompt.search.budget import Budget

SPENDING = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), max_size=20)


@given(st.integers(1, 100), st.integers(1, 50), SPENDING)
def test_it_counts_as_a_plain_sum_does_and_takes_nothing_that_does_not_fit(
    evaluations: int, items: int, spending: list[tuple[int, int]]
) -> None:
    budget = Budget(evaluations, items=items)
    spent = passed = 0
    for prompts, passes in spending:
        assert budget.room == evaluations - spent
        if spent + prompts + passes <= evaluations:
            budget.spend(prompts, passes=passes)
            spent, passed = spent + prompts + passes, passed + passes
        else:
            with pytest.raises(InputError, match=rf"{prompts + passes} evaluations.*{evaluations - spent} are left"):
                budget.spend(prompts, passes=passes)
        assert (budget.spent, budget.passes, budget.pairs) == (spent, passed, spent * items)
        assert budget.ended(0.0) == ("evaluations" if spent == evaluations else None)
        assert budget.used(0.0) == pytest.approx(spent / evaluations)


@given(st.integers(1, 100), st.integers(1, 50), st.integers(0, 5000))
def test_an_evaluation_that_has_begun_counts_as_a_whole_one(evaluations: int, items: int, pairs: int) -> None:
    pairs = min(pairs, evaluations * items)
    budget = Budget(evaluations, items=items, pairs=pairs)
    whole = [n for n in range(evaluations + 1) if n * items >= pairs]
    assert budget.spent == whole[0]
    assert budget.spent + budget.room == evaluations


@given(st.integers(1, 100), st.integers(1, 50), SPENDING, SPENDING)
def test_a_saved_budget_goes_on_as_if_it_had_never_stopped(
    evaluations: int, items: int, before: list[tuple[int, int]], after: list[tuple[int, int]]
) -> None:
    def spend(budget: Budget, spending: list[tuple[int, int]]) -> None:
        for prompts, passes in spending:
            if prompts + passes <= budget.room:
                budget.spend(prompts, passes=passes)

    whole = Budget(evaluations, items=items)
    spend(whole, before)
    resumed = Budget(evaluations, items=items, pairs=whole.pairs, passes=whole.passes)
    for budget in (whole, resumed):
        spend(budget, after)
    assert whole == resumed


def test_seconds_end_it_too_and_what_runs_out_first_is_what_is_used() -> None:
    budget = Budget(10, seconds=4.0)
    budget.spend(2)
    assert [budget.ended(t) for t in (0.0, 3.9, 4.0)] == [None, None, "seconds"]
    assert [budget.used(t) for t in (0.0, 2.0, 8.0)] == [0.2, 0.5, 1.0]
    budget.spend(7, passes=1)
    assert budget.ended(4.0) == "evaluations"


@pytest.mark.parametrize(
    ("evaluations", "how"),
    [(0, {}), (-1, {}), (5, {"items": 0}), (5, {"seconds": 0.0}), (5, {"seconds": float("nan")})],
)
def test_a_limit_that_allows_nothing_is_refused(evaluations: int, how: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Budget(evaluations, **how)  # type: ignore[arg-type]

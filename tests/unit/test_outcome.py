"""The rule that chooses the prompt."""

import math
import statistics

import torch
from hypothesis import given
from hypothesis import strategies as st

from hardprompt.search.choice import choose
from hardprompt.search.engine import Trial

scores = st.lists(st.tuples(st.integers(0, 200), st.floats(1.0, 1e6)), min_size=1, max_size=12)


def table(values: dict[str, float]) -> object:
    return lambda prompts: torch.tensor([values[p] for p in prompts], dtype=torch.float64)


@given(scores)
def test_no_prompt_within_one_standard_error_is_more_natural(drawn: list[tuple[int, float]]) -> None:
    trials = [Trial(1, f"p{i}", right / 200) for i, (right, _) in enumerate(drawn)]
    values = {f"p{i}": perplexity for i, (_, perplexity) in enumerate(drawn)}
    chosen = choose(trials, 200, table(values))
    best = max(drawn)[0]
    outcomes = [1.0] * best + [0.0] * (200 - best)
    error = statistics.pstdev(outcomes) / math.sqrt(200)
    assert chosen.score >= best / 200 - error - 2e-5
    for trial in trials:
        if values[trial.prompt] < values[chosen.prompt]:
            assert trial.score < best / 200 - error + 1e-9


def test_worked_case() -> None:
    # one standard error of 0.80 on 100 texts is 0.04
    trials = [Trial(1, "xq zz", 0.80), Trial(2, "so plain", 0.77), Trial(3, "the film is", 0.75)]
    assert choose(trials, 100, table({"xq zz": 9e4, "so plain": 40.0, "the film is": 8.0})).prompt == "so plain"


def test_equals_go_to_the_earliest_and_an_unknown_perplexity_loses() -> None:
    trials = [Trial(1, "a", 0.5), Trial(2, "b", 0.5), Trial(3, "c", 0.5)]
    assert choose(trials, 10, table({"a": math.nan, "b": 7.0, "c": 7.0})).prompt == "b"


def test_equal_accuracies_are_equal_also_where_there_is_no_error() -> None:
    trials = [Trial(1, "a", 1.0 + 2e-6), Trial(2, "b", 1.0 - 1e-6)]
    assert choose(trials, 32, table({"a": 9e4, "b": 8.0})).prompt == "b"


def test_a_perfect_score_is_not_traded() -> None:
    assert choose([Trial(1, "a", 1.0 + 1e-6), Trial(2, "b", 0.99)], 32, table({"a": 1e5, "b": 2.0})).prompt == "a"

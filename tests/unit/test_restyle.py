"""The style transfer reward against sums by hand, and the reward that draws texts anew for each step."""

import random
import zlib
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hardprompt.errors import InputError
from hardprompt.search.files import StateStore
from hardprompt.search.rewards import Cached, PerStep
from hardprompt.tasks.restyle.reward import Restyle, score
from hardprompt.tasks.template import Template

TEXTS = ["the food was bad", "slow and cold service here tonight", "no"]


class Writer:
    """A task model that writes what a table says, and counts."""

    def __init__(self, table: dict[str, list[str]] | None = None) -> None:
        self.table, self.asked = table, []

    def generate(
        self, contexts: Sequence[str], *, samples: int, seed: int, longest: Sequence[int], stop: Sequence[str]
    ) -> list[list[str]]:
        self.asked.append((list(contexts), samples, seed, list(longest), tuple(stop)))
        if self.table is not None:
            return [self.table[context][:samples] for context in contexts]
        return [[f" w{random.Random(f'{c}{seed}{i}').randrange(9)} " for i in range(samples)] for c in contexts]

    def count(self, text: str) -> int:
        return len(text.split())


class Length:
    """A style: how near a text is to ten characters."""

    def target(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.tensor([max(0.0, 1 - abs(len(t) - 10) / 10) for t in texts])


def overlap(sources: Sequence[str], outputs: Sequence[str]) -> torch.Tensor:
    return torch.tensor([zlib.crc32(f"{a}|{b}".encode()) % 100 / 100 for a, b in zip(sources, outputs, strict=True)])


def make(lm: Any = None, **changes: Any) -> Restyle:
    settings: dict[str, Any] = {
        "lm": lm or Writer(), "texts": TEXTS, "template": Template('{prompt} "{text}" "'), "content": overlap,
        "style": Length(), "samples": 2,
    }  # fmt: skip
    return Restyle(**{**settings, **changes})


def test_the_reward_is_the_mean_over_texts_of_the_best_sample() -> None:
    table = {f'P "{text}" "': [f"{text} one ", " two"] for text in TEXTS}
    found = make(Writer(table))(["P"])
    by_hand = []
    for text in TEXTS:
        values = []
        for output in (f"{text} one", "two"):
            content = zlib.crc32(f"{text}|{output}".encode()) % 100 / 100
            style = max(0.0, 1 - abs(len(output) - 10) / 10)
            values.append(100 * (content + style) / 2)
        by_hand.append(max(values))
    torch.testing.assert_close(found, torch.tensor([sum(by_hand) / 3], dtype=torch.float64))


def test_nothing_written_is_worth_nothing() -> None:
    table = {f'P "{text}" "': ["", "  "] for text in TEXTS}
    assert make(Writer(table))(["P"]).tolist() == [0.0]


def test_what_is_asked_of_the_task_model() -> None:
    lm = Writer()
    make(lm, seed=7, stop="]")(["P", "Q"])
    ((contexts, samples, seed, longest, stop),) = lm.asked
    assert contexts == [f'{p} "{text}" "' for p in "PQ" for text in TEXTS]
    assert (samples, seed, stop) == (2, 7, ("]", "\n"))
    assert longest == [14, 16, 11] * 2  # half as many tokens again as the text has, or ten more if that is more


def test_scores_of_chosen_texts_are_those_of_all(  # a text's score does not depend on what else is asked
) -> None:
    task = make()
    whole = task.score(["P", "Q"])
    assert torch.equal(task.score(["Q"], [2, 0]), whole[1:][:, [2, 0]])


def test_equal_pairs_are_scored_once() -> None:
    seen: list[str] = []

    class Counting(Length):
        def target(self, texts: Sequence[str]) -> torch.Tensor:
            seen.extend(texts)
            return super().target(texts)

    found = score([("a", "b"), ("a", "c"), ("a", "b")], overlap, Counting())
    assert seen == ["b", "c"]
    assert found[0] == found[2]
    assert score([], overlap, Length()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"texts": []}, "no text to rewrite"),
        ({"texts": ["a", " "]}, "is empty"),
        ({"template": Template("{text} {prompt} {mask}.")}, "has {mask}"),
    ],
)
def test_what_is_no_task_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(**changes)


def test_a_step_of_all_texts_is_the_plain_reward() -> None:
    task = make()
    torch.testing.assert_close(PerStep(Cached(task), per_step=3)(["P", "Q", "P"]), task(["P", "Q", "P"]))


def test_a_prompt_is_never_scored_twice_on_a_text() -> None:
    lm = Writer()
    reward = PerStep(Cached(make(lm)), per_step=2, seed=1)
    for _ in range(12):
        reward(["P", "Q"])
    asked = [context for contexts, *_ in lm.asked for context in contexts]
    assert len(asked) == len(set(asked)) == 6
    assert reward.hits + reward.scored == 24
    assert {p: reward.recall(p) for p in "PQ"} == pytest.approx({p: float(make()([p])) for p in "PQ"})


def test_zscores_are_over_the_prompts_of_a_step_for_each_text() -> None:
    task = make()
    prompts = ["P", "Q", "R", "S"]
    scores = task.score(prompts).numpy()
    by_hand = ((scores - scores.mean(0)) / (scores.std(0) + 1e-4)).mean(1)
    found = PerStep(Cached(task), per_step=3, zscore=True)(prompts)
    torch.testing.assert_close(found, torch.from_numpy(by_hand))


@given(st.integers(0, 5), st.integers(1, 3), st.booleans())
def test_a_saved_state_goes_on_with_the_same_texts(
    tmp_path_factory: pytest.TempPathFactory, steps: int, per_step: int, zscore: bool
) -> None:
    first, second = (PerStep(Cached(make()), per_step=per_step, zscore=zscore, seed=3) for _ in range(2))
    for step in range(steps):
        first([f"P{step}", "Q"])
    store = StateStore(tmp_path_factory.mktemp("state"))
    store.save(1, first.state_dict())
    second.load_state_dict(store.load())
    for step in range(3):
        prompts = [f"R{step}", "Q"]
        assert first(prompts).tolist() == second(prompts).tolist()
    assert (first.hits, first.scored) == (second.hits, second.scored)
    prompts = ["Q", "R0", "R1", "never asked"]
    assert [first.recall(p) for p in prompts] == [second.recall(p) for p in prompts]


def test_more_texts_a_step_than_there_are_is_named() -> None:
    with pytest.raises(InputError, match="per_step is 4; it must lie between 1 and the 3 items"):
        PerStep(Cached(make()), per_step=4)

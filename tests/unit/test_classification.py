"""The classification reward: its formula, its contexts, its checks, and what happens to long texts."""

import math
import zlib
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hardprompt.data.tables import Example
from hardprompt.errors import InputError
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.masked import MaskedLM
from hardprompt.tasks.classify.examples import check_examples
from hardprompt.tasks.classify.reward import Classification
from hardprompt.tasks.template import Template
from tests.conftest import Tiny

TWO = {"bad": " bad", "good": " good"}
FOUR = {"world": " world", "sports": " game", "market": " market", "music": " music"}
TEXTS = ("The film was great.", "The food was cold.", "We went to the sea.", "A good story about a dog.")


class WordLM:
    """A task model of words: scores are a hash of what it reads, and every call is written down."""

    def __init__(self, *, blank: str = "", context_length: int | None = None) -> None:
        self.blank, self.context_length = blank, context_length
        self.prepared: list[str] = []
        self.read: list[tuple[str, str]] = []

    @property
    def tokens_run(self) -> int:
        return len(self.read)

    def score(self, contexts: Sequence[str], choices: Sequence[str], *, after: str = "", how: str = "sum") -> Tensor:
        said = [choice + after for choice in choices]
        self.read.extend((context, choice) for context in contexts for choice in said)
        return torch.tensor([[self.one(context, choice) for choice in said] for context in contexts])

    def prepare(self, contexts: Sequence[str]) -> None:
        self.prepared.extend(contexts)

    def count(self, text: str) -> int:
        return len(text.split())

    def truncate(self, text: str, tokens: int) -> str:
        return text if self.count(text) <= tokens else " ".join(text.split()[:tokens])

    @staticmethod
    def one(context: str, choice: str) -> float:
        return zlib.crc32(f"{context}|{choice}".encode()) % 1000 / 200.0


def task(
    lm: Any, template: str = "{text} {prompt}", verbalizers: dict[str, str] = TWO, **settings: Any
) -> Classification:
    labels = list(verbalizers)
    examples = [Example(text, labels[i % len(labels)]) for i, text in enumerate(TEXTS)]
    return Classification(
        lm=lm, examples=examples, template=Template(template), verbalizers=verbalizers, **settings
    )  # fmt: skip


def written_out(
    probabilities: Tensor, labels: Sequence[int], correct: float = 200.0, wrong: float = 180.0
) -> list[float]:
    """PIN App. B.2 as loops."""
    rewards = []
    for rows in probabilities.tolist():
        total = 0.0
        for row, label in zip(rows, labels, strict=True):
            gap = row[label] - max(p for c, p in enumerate(row) if c != label)
            total += (correct if gap > 0 else wrong) * gap
        rewards.append(total / len(labels))
    return rewards


@st.composite
def answers(draw: st.DrawFn, classes: int) -> Tensor:
    prompts, logit = draw(st.integers(1, 3)), st.floats(-20, 20)
    count = prompts * len(TEXTS) * classes
    logits = torch.tensor(draw(st.lists(logit, min_size=count, max_size=count)), dtype=torch.float64)
    return logits.reshape(prompts, len(TEXTS), classes).softmax(-1)


@pytest.mark.parametrize("verbalizers", [TWO, FOUR], ids=["two classes", "four classes"])
@given(data=st.data())
def test_reward_equals_the_formula_written_out_and_stays_within_its_bounds(
    verbalizers: dict[str, str], data: st.DataObject
) -> None:
    classification = task(WordLM(), verbalizers=verbalizers)
    probabilities = data.draw(answers(len(verbalizers)))
    rewards = classification.rewards(probabilities)
    assert rewards.tolist() == pytest.approx(written_out(probabilities, classification.labels.tolist()), abs=1e-9)
    assert ((rewards >= -180.0) & (rewards <= 200.0)).all()


def test_reward_is_two_hundred_when_all_is_right_minus_180_when_all_is_wrong_and_zero_when_undecided() -> None:
    classification = task(WordLM())
    right = torch.nn.functional.one_hot(classification.labels, 2).double()
    probabilities = torch.stack([right, 1.0 - right, torch.full_like(right, 0.5)])
    assert classification.rewards(probabilities).tolist() == [200.0, -180.0, 0.0]


@pytest.mark.parametrize(
    ("probabilities", "label", "gap"),
    [
        ([0.7, 0.3], "bad", 0.4),
        ([0.7, 0.3], "good", -0.4),
        ([0.4, 0.3, 0.2, 0.1], "world", 0.1),
        ([0.4, 0.3, 0.2, 0.1], "sports", -0.1),
        ([0.4, 0.3, 0.2, 0.1], "music", -0.3),
        ([0.25, 0.25, 0.25, 0.25], "market", 0.0),
    ],
)
def test_gap_is_the_distance_to_the_strongest_rival(probabilities: list[float], label: str, gap: float) -> None:
    classification = Classification(
        lm=WordLM(),
        examples=[Example("The film", label)],
        template=Template("{text} {prompt}"),
        verbalizers=TWO if len(probabilities) == 2 else FOUR,
        correct=10.0,
        incorrect=1.0,
    )
    (reward,) = classification.rewards(torch.tensor([[probabilities]], dtype=torch.float64)).tolist()
    assert reward == pytest.approx(10.0 * gap if gap > 0 else gap, abs=1e-12)


@given(probabilities=answers(4), sharpness=st.floats(0.1, 5.0))
def test_sharpness_raises_the_probabilities_to_a_power_before_the_gap_is_taken(
    probabilities: Tensor, sharpness: float
) -> None:
    plain, sharp = task(WordLM(), verbalizers=FOUR), task(WordLM(), verbalizers=FOUR, sharpness=sharpness)
    powers = (probabilities + 1e-300) ** sharpness
    expected = written_out(powers / powers.sum(-1, keepdim=True), plain.labels.tolist())
    assert sharp.rewards(probabilities).tolist() == pytest.approx(expected, abs=1e-6)
    assert torch.equal(sharp.predictions(["a", "b"]), plain.predictions(["a", "b"]))


def test_sharpness_leaves_certain_answers_at_the_bounds() -> None:
    classification = task(WordLM(), sharpness=3.0)
    right = torch.nn.functional.one_hot(classification.labels, 2).double()
    assert classification.rewards(torch.stack([right, 1.0 - right])).tolist() == [200.0, -180.0]


@pytest.mark.parametrize("sharpness", [0.0, -1.0, math.nan, math.inf])
def test_a_sharpness_that_is_not_a_positive_number_raises(sharpness: float) -> None:
    with pytest.raises(InputError, match=f"sharpness is {sharpness}"):
        task(WordLM(), sharpness=sharpness)


@pytest.mark.parametrize("verbalizers", [TWO, FOUR], ids=["two classes", "four classes"])
@pytest.mark.parametrize(
    ("template", "blank"),
    [
        ("{text} {prompt}", ""),
        ("{prompt} {text} It was{mask}", ""),
        ("{prompt} {text} It was{mask} indeed.", ""),
        ("{text} It was{mask}. {prompt}", ""),
        ("It was{mask}: {prompt} {text}", ""),
        ("{text} {prompt} {mask}.", "<mask>"),
        ("{mask} {text} {prompt}", "<mask>"),
    ],
)
def test_rewards_probabilities_and_predictions_follow_from_the_scores_of_each_filled_template(
    template: str, blank: str, verbalizers: dict[str, str]
) -> None:
    lm, prompts = WordLM(blank=blank), ["Was it so?", " {text} or {mask}", ""]
    classification = task(lm, template, verbalizers)
    expected = torch.empty(len(prompts), len(TEXTS), len(verbalizers), dtype=torch.float64)
    for i, prompt in enumerate(prompts):
        for j, text in enumerate(TEXTS):
            before, after = Template(template).fill(text, prompt)
            if blank:
                scores = [lm.one(before + blank + after, choice) for choice in verbalizers.values()]
            else:
                scores = [lm.one(before, choice + after) for choice in verbalizers.values()]
            weights = [math.exp(score) for score in scores]
            expected[i, j] = torch.tensor([w / sum(weights) for w in weights])
    probabilities = classification.probabilities(prompts)
    assert probabilities.dtype == torch.float64
    torch.testing.assert_close(probabilities, expected, atol=1e-6, rtol=1e-5)
    assert torch.equal(classification.predictions(prompts), expected.argmax(-1))
    labels = classification.labels.tolist()
    assert classification(prompts).tolist() == pytest.approx(written_out(expected, labels), abs=1e-3)


@pytest.mark.parametrize("template", ["{text} {prompt}", "{prompt} {text} It was", "{text}{prompt} It was{mask}."])
def test_probabilities_of_a_real_model_are_those_of_its_plain_log_probabilities(
    tiny_causal: Tiny, template: str
) -> None:
    model, tokenizer = tiny_causal
    classification = task(CausalLM(model, tokenizer), template)
    prompts = [" In one word", " The answer is"]
    probabilities = classification.probabilities(prompts)
    for i, prompt in enumerate(prompts):
        for j, text in enumerate(TEXTS):
            before, after = Template(template).fill(text, prompt)
            start = tokenizer(before)["input_ids"]
            scores = []
            for choice in TWO.values():
                ids = tokenizer(choice + after, add_special_tokens=False)["input_ids"]
                log_p = model(input_ids=torch.tensor([[*start, *ids]])).logits[0].log_softmax(-1)
                scores.append(sum(float(log_p[len(start) - 1 + k, token]) for k, token in enumerate(ids)))
            expected = torch.tensor(scores, dtype=torch.float64).softmax(-1)
            torch.testing.assert_close(probabilities[i, j], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("template", ["{text} {prompt}", "{prompt} {text} It was"])
def test_keeping_the_texts_changes_no_probability(tiny_causal: Tiny, template: str) -> None:
    prompts = [" In one word", " The answer is", ""]
    kept, plain = (task(CausalLM(*tiny_causal), template, keep=keep) for keep in (True, False))
    torch.testing.assert_close(kept.probabilities(prompts), plain.probabilities(prompts), atol=1e-6, rtol=1e-5)


def test_the_texts_are_prepared_up_to_the_prompt_unless_told_otherwise() -> None:
    lm, other = WordLM(), WordLM()
    task(lm, "Read: {text} {prompt}")
    task(other, "Read: {text} {prompt}", keep=False)
    assert lm.prepared == [f"Read: {text} " for text in TEXTS]
    assert other.prepared == []


def test_all_prompts_and_texts_are_scored_in_one_call_where_the_answer_comes_last() -> None:
    lm = WordLM()
    calls = []
    score = lm.score
    lm.score = lambda contexts, choices, **how: calls.append(len(contexts)) or score(contexts, choices, **how)  # type: ignore[method-assign, func-returns-value]
    task(lm)(["a", "b", "c"])
    assert calls == [3 * len(TEXTS)]


def test_labels_are_numbered_in_the_order_of_the_verbalizers() -> None:
    examples = [Example("a", "market"), Example("b", "world"), Example("c", "music")]
    classification = Classification(
        lm=WordLM(), examples=examples, template=Template("{text}{prompt}"), verbalizers=FOUR
    )
    assert classification.classes == ["world", "sports", "market", "music"]
    assert classification.labels.tolist() == [2, 0, 3]


@pytest.mark.parametrize(
    ("examples", "verbalizers", "said"),
    [
        ([], TWO, "no examples"),
        ([("a", "good")], {"good": " good"}, "two classes"),
        ([("a", "good")], {}, "two classes"),
        ([("a", "good")], {"good": " good", "bad": "  "}, "'bad' is empty"),
        ([("a", "good")], {"good": "", "bad": " bad"}, "'good' is empty"),
        ([("a", "good")], {"good": " fine", "bad": " bad", "great": " fine"}, "'good' and 'great'.*' fine'"),
        ([("a", "good"), (" \n", "bad")], TWO, "example 2 has an empty text"),
        ([("a", "good"), ("b", "ugly")], TWO, "example 2 has class 'ugly'.*bad, good"),
    ],
)
def test_data_that_make_no_task_raise_an_input_error_that_names_the_fault(
    examples: list[tuple[str, str]], verbalizers: dict[str, str], said: str
) -> None:
    given_examples = [Example(*e) for e in examples]
    with pytest.raises(InputError, match=said):
        check_examples(given_examples, verbalizers)
    with pytest.raises(InputError, match=said):
        Classification(
            lm=WordLM(), examples=given_examples, template=Template("{text}{prompt}"), verbalizers=verbalizers
        )


def test_sound_data_pass_the_check() -> None:
    check_examples([Example("a", "good"), Example("b", "bad")], TWO)


def test_texts_are_cut_only_when_they_would_not_fit_and_the_cut_ones_are_counted() -> None:
    short, long = "word " * 20, "word " * 400
    lm = WordLM(context_length=200)
    examples = [Example(short, "good"), Example(long, "bad"), Example(long + "end", "good")]
    classification = Classification(lm=lm, examples=examples, template=Template("{text} {prompt}"), verbalizers=TWO)
    assert classification.truncated == 2
    prompt = "one two three"
    classification([prompt])
    contexts = list(dict.fromkeys(context for context, _ in lm.read))
    assert contexts[0] == f"{short} {prompt}"
    assert all(context.endswith(f" {prompt}") for context in contexts)
    assert all(50 < lm.count(context) <= 200 - 1 for context in contexts[1:])


def test_without_a_limit_no_text_is_cut() -> None:
    classification = Classification(
        lm=WordLM(), examples=[Example("word " * 5000, "good")], template=Template("{text}{prompt}"), verbalizers=TWO
    )
    assert classification.truncated == 0


@given(words=st.integers(100, 400), length=st.integers(1, 64))
def test_context_prompt_and_answer_fit_the_real_model_and_the_prompt_is_never_cut(
    tiny_causal: Tiny, words: int, length: int
) -> None:
    lm = CausalLM(*tiny_causal)
    examples = [Example("The film" + " was" * words, "good")]
    template = Template("Text: {text}\nIn one word:{prompt} it was")
    classification = Classification(lm=lm, examples=examples, template=template, verbalizers=TWO, keep=False)
    read: list[str] = []
    score = lm.score
    lm.score = lambda contexts, choices, **how: read.extend(contexts) or score(contexts, choices, **how)  # type: ignore[method-assign, func-returns-value]
    prompt = " good" * length
    classification([prompt])
    assert read[0].endswith(f"\nIn one word:{prompt} it was")
    assert lm.context_length is not None
    assert len(lm.tokenizer(read[0])["input_ids"]) + 1 <= lm.context_length
    assert classification.truncated == int(not read[0].startswith(f"Text: {examples[0].text}\n"))


def test_a_template_that_leaves_no_room_for_a_text_raises() -> None:
    with pytest.raises(InputError, match="no room"):
        task(WordLM(context_length=80), "{text} {prompt} " + "word " * 20)


def test_texts_with_braces_are_read_as_they_are() -> None:
    lm, text = WordLM(), "a {prompt} in {braces} {mask} {"
    Classification(lm=lm, examples=[Example(text, "good")], template=Template("{text} {prompt}!"), verbalizers=TWO)(
        ["x"]
    )
    assert {context for context, _ in lm.read} == {f"{text} x!"}


def test_a_long_prompt_can_be_given_its_room_at_the_cost_of_a_long_text(tiny_masked: Any) -> None:
    lm = MaskedLM(*tiny_masked)
    assert lm.context_length is not None
    long = [Example("dog " * lm.context_length, "good"), Example("The sea", "bad")]
    prompt = " the man had a dog" * 20
    common: dict[str, Any] = {
        "lm": lm,
        "template": Template("{prompt} {text}{mask}"),
        "verbalizers": {"good": " great", "bad": " bad"},
    }
    with pytest.raises(InputError, match="has room for"):
        Classification(examples=long, **common)([prompt])
    assert len(Classification(examples=long, reserve=lm.count(prompt), **common)([prompt])) == 1

"""What every language model that is prompted promises: scores of choices that nothing but the context decides."""

from collections.abc import Callable, Sequence
from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.lms import TaskLM
from hardprompt.lms.answers import Pooling
from hardprompt.testing.comparing import assert_close, assert_each_alone, check_all

CHOICES = (" good", " bad", " not good", " great")
TEXTS = ("The film was", "The food in the house by the sea was", "It is")


def _scored(lm: TaskLM, contexts: Sequence[str], choices: Sequence[str] = CHOICES) -> Float[Tensor, "n choices"]:
    """What a score decides: probabilities of the choices, without the constant of each context."""
    return lm.score([context + lm.blank for context in contexts], choices).float().cpu().softmax(-1)


def is_a_model(lm: TaskLM) -> None:
    """It has the members of the protocol, and scores every choice in every context."""
    assert isinstance(lm, TaskLM), f"{type(lm).__name__} is no TaskLM; see hardprompt.lms.TaskLM for its members."
    scores = lm.score([text + lm.blank for text in TEXTS], CHOICES)
    assert scores.shape == (len(TEXTS), len(CHOICES)), f"score() has shape {tuple(scores.shape)}."
    assert bool(torch.isfinite(scores).all()), "score() holds what is not finite."
    for how in get_args(Pooling):
        pooled = lm.score([text + lm.blank for text in TEXTS], CHOICES, how=how)
        assert pooled.shape == scores.shape, f"score(how={how!r}) has shape {tuple(pooled.shape)}."
        assert bool(torch.isfinite(pooled).all()), f"score(how={how!r}) holds what is not finite."
    assert lm.context_length is None or lm.context_length >= 1, f"context_length is {lm.context_length}."


def scores_keep_no_company(lm: TaskLM) -> None:
    """A score depends neither on the other contexts nor on the other choices."""
    assert_each_alone(lambda some: _scored(lm, some), TEXTS, "the score of a context")
    some = _scored(lm, TEXTS)[:, 2:]
    assert_close(_scored(lm, TEXTS, CHOICES[2:]), some / some.sum(-1, keepdim=True), "scores of some choices")


def tells_contexts_and_choices_apart(lm: TaskLM) -> None:
    """Contexts have scores of their own, and choices keep their places."""
    scores = _scored(lm, TEXTS)
    assert not torch.allclose(scores[0], scores[1], atol=1e-6), "score() is the same in two contexts."
    assert_close(_scored(lm, TEXTS, CHOICES[::-1]).flip(-1), scores, "scores must follow the order of the choices")


def a_hint_changes_nothing(lm: TaskLM) -> None:
    """``prepare`` never changes a score."""
    before = _scored(lm, TEXTS)
    lm.prepare(["The film", "It is"])
    assert_close(_scored(lm, TEXTS), before, "a score after prepare() and before")


def counts_and_cuts(lm: TaskLM) -> None:
    """``truncate`` gives a beginning of the text of at most so many tokens, and all of it where it fits."""
    text = "The film was a great story about a man"
    special = lm.count("")  # that a model may put around any text
    whole = lm.count(text) - special
    assert whole >= 1, f"count({text!r}) is {whole + special}, and {special} of an empty text."
    for tokens in range(1, whole + 1):
        cut = lm.truncate(text, tokens)
        assert text.startswith(cut), f"truncate(text, {tokens}) is {cut!r}, no beginning of {text!r}."
        assert lm.count(cut) - special <= tokens, f"truncate(text, {tokens}) has {lm.count(cut) - special} tokens."
    assert lm.truncate(text, 10_000) == text, "truncate() cuts a text that fits."


def counts_its_work(lm: TaskLM) -> None:
    """``tokens_run`` grows with what goes through the model."""
    before = lm.tokens_run
    _scored(lm, ["A context that was not scored before"])
    assert lm.tokens_run > before, "tokens_run did not grow while a new context was scored."


def refuses_a_choice_without_tokens(lm: TaskLM) -> None:
    """A choice that is empty is an InputError."""
    try:
        _scored(lm, TEXTS[:1], (" good", ""))
    except InputError:
        return
    raise AssertionError("score() took an empty choice; an InputError was expected.")


LANGUAGE_MODEL_CHECKS: Sequence[Callable[[TaskLM], None]] = (
    is_a_model,
    scores_keep_no_company,
    tells_contexts_and_choices_apart,
    a_hint_changes_nothing,
    counts_and_cuts,
    counts_its_work,
    refuses_a_choice_without_tokens,
)


def check_language_model(lm: TaskLM) -> None:
    """Hold a language model to all of its promises; an AssertionError says which it breaks."""
    check_all(LANGUAGE_MODEL_CHECKS, lm)

"""What there is to say of a classification's answers before anything is searched: lengths, rivals, spaces."""

from collections.abc import Mapping
from typing import Any

from hardprompt.errors import InputError
from hardprompt.lms.answers import Pooling, answers
from hardprompt.lms.tokens import ending, ids_behind
from hardprompt.tasks.classify.prior import Calibration
from hardprompt.tasks.template import Template


def notes(
    tokenizer: Any,
    verbalizers: Mapping[str, str],
    template: Template,
    *,
    how: Pooling,
    blank: str,
    calibrate: Calibration = "none",
) -> list[str]:
    """A sentence for each thing that makes answers of this kind hard to score.

    Args:
        tokenizer: the task model's.
        verbalizers: for each class the string that stands for it.
        template: where text, prompt and answer stand.
        how: how the tokens of an answer are put together.
        blank: the mask of a masked model; empty where the answer follows its context.
        calibrate: what is taken from the answers, which makes up for their lengths.

    Raises:
        InputError: two answers that cannot be told apart, one without a token, or one that holds the mask.
    """
    for word in verbalizers.values():
        if blank and blank in word:
            raise InputError(f"the answer {word!r} holds the mask token {blank!r}, in whose place it stands.")
    literal = template.body.partition("{mask}")[0].rpartition("}")[2]  # what stands right before the answer
    before, after = ("", "") if blank else (literal, template.fill("", "")[1])
    options = answers(
        tokenizer, tuple(verbalizers.values()), how=how, after=after, context=ending(before) if before else None
    )
    words = list(verbalizers.values())
    found = [_shorter(tokenizer, word, [w for w in words if w != word]) for word in words]
    said = [one for one in found if one is not None]
    if how == "sum" and calibrate == "none":
        for a, first in zip(words, options, strict=True):
            for b, second in zip(words, options, strict=True):
                if len(first.ids) < len(second.ids) and second.ids[: len(first.ids)] == first.ids:
                    said.append(
                        f"the answer {b!r} begins with the answer {a!r}: the sum of its log-probabilities is always "
                        "lower, so its class is never predicted; use --score mean, or words that begin otherwise."
                    )
    spaced = [word for word in words if word.startswith(" ")]
    if not blank and spaced and before.endswith(" "):
        said.append(
            f"the template ends in a space and the answer {spaced[0]!r} begins with one: the model reads two; end the "
            "template before the space, or give answers without it (--verbalizer LABEL==WORD)."
        )
    return said


def check_gradient(template: Template, *, causal: bool) -> None:
    """Raise an InputError for a template that a method which takes gradients cannot use with such a task model."""
    if causal and not template.prompt_first:
        raise InputError("with a causal model a method that takes gradients needs {prompt} before {mask}.")


def _shorter(tokenizer: Any, word: str, others: list[str]) -> str | None:
    """A sentence for an answer of several tokens, with words of it that are one token and no other answer's."""
    length = len(ids_behind(tokenizer, word))
    if length < 2:
        return None
    begun = {ids_behind(tokenizer, other)[0] for other in others}
    space = " " if word.startswith(" ") else ""
    alone = {space + part: ids_behind(tokenizer, space + part) for part in word.split()}
    short = [part for part, ids in alone.items() if len(ids) == 1 and ids[0] not in begun]
    tail = f"such as {' or '.join(map(repr, short))}" if short else "but no word of it is one token"
    return f"the answer {word!r} has {length} tokens; one of a single token is compared more fairly, {tail}."

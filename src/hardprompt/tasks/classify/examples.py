"""What makes a classification of texts and words, told without a model."""

from collections.abc import Mapping, Sequence

from hardprompt.data.tables import Example
from hardprompt.errors import InputError


def check_examples(examples: Sequence[Example], verbalizers: Mapping[str, str]) -> None:
    """Raise an InputError unless the examples and verbalizers make a classification task."""
    if not examples:
        raise InputError("there are no examples.")
    if len(verbalizers) < 2:
        raise InputError(f"classification needs two classes or more; the data has only {list(verbalizers)}.")
    for label, word in verbalizers.items():
        if not word.strip():
            raise InputError(f"the verbalizer of class {label!r} is empty; give a word.")
    owners: dict[str, str] = {}
    for label, word in verbalizers.items():
        if (first := owners.setdefault(word, label)) != label:
            raise InputError(f"classes {first!r} and {label!r} have one verbalizer, {word!r}.")
    for number, example in enumerate(examples, 1):
        if not example.text.strip():
            raise InputError(f"{example.where or f'example {number}'} has an empty text.")
        if example.label not in verbalizers:
            raise InputError(
                f"{example.where or f'example {number}'} has class {example.label!r}, which has no verbalizer; "
                f"classes with one: {', '.join(verbalizers)}."
            )

"""Worked examples for a prompt: training texts with their answers, as many as a model has room for."""

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hardprompt.data.tables import Example
from hardprompt.errors import InputError


@dataclass(frozen=True)
class Demonstrations:
    """What worked examples are drawn from, and how much of them fits."""

    examples: Sequence[Example]  # training texts
    render: Callable[[Example], str]  # an example as it stands in a prompt, with its answer
    room: int  # tokens that they may have together
    count: Callable[[str], int]  # tokens of a text

    def draw(self, seed: int, shots: int) -> str:
        """Up to ``shots`` examples of each class, drawn and ordered by the seed, the classes in turn.

        Raises:
            InputError: there is no room for one.
        """
        generator = random.Random(seed)
        by_class: dict[str, list[Example]] = defaultdict(list)
        for example in self.examples:
            by_class[example.label].append(example)
        for own in by_class.values():
            generator.shuffle(own)
        prompt = ""
        for turn in range(shots):
            labels = sorted(label for label in by_class if turn < len(by_class[label]))
            generator.shuffle(labels)
            for label in labels:
                longer = prompt + self.render(by_class[label][turn])
                if self.count(longer) > self.room:
                    if prompt:
                        return prompt
                    raise InputError(
                        f"a worked example of {self.count(longer)} tokens does not fit: beside the longest text the "
                        f"task model has room for {self.room}."
                    )
                prompt = longer
        return prompt

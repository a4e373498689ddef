"""A set of texts scored group by group, and calibrated once all of its groups are there."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hardprompt.search.work import VALIDATION, Work
from hardprompt.tasks.classify.calibration import Leaning, without
from hardprompt.tasks.classify.reward import Classification


def grouped_probabilities(
    work: Work, part: str, task: Classification, prompts: Sequence[str]
) -> tuple[Float[Tensor, "prompts n classes"], Leaning | None]:
    """P(class | text, prompt) of all texts, and what was taken from the answers after each prompt to get there.

    The texts that calibrate are scored first, in groups of their own: what is taken is of all of them, whatever is
    kept, gone on with or cut.
    """
    base = task.leans_by
    ahead = 0 if base is None else base.items
    first = [] if base is None else base.groups(prompts, range(ahead))
    then = [[ahead + item for item in group] for group in task.groups(prompts, range(task.items))]

    def scored(items: list[int]) -> Float[Tensor, "prompts group classes"]:
        if base is not None and items[0] < ahead:
            return base.score(prompts, items)
        return task.score(prompts, [item - ahead for item in items])

    scores = torch.cat(work.each(part, prompts, [*first, *then], scored), dim=1)
    found = task.leaning(scores[:, :ahead])
    return without(found, scores[:, ahead:]), found


def grouped_right(work: Work, part: str, task: Classification, prompts: Sequence[str]) -> Bool[Tensor, "prompts n"]:
    """Which of the texts, calibrated on themselves where they are, each prompt gets right."""
    made = work.each(part, prompts, task.groups(prompts, range(task.items)), lambda items: task.score(prompts, items))
    return task.right(torch.cat(made, dim=1))


class ValidationAccuracy:
    """Chooses by what will be reported: accuracy, and the mean probability gap only to part equals."""

    def __init__(self, task: Classification, work: Work) -> None:
        self.task, self._work = task, work

    def hold(self) -> None:
        """Hold what validation reads, which decides what shares a batch."""
        if (base := self.task.leans_by) is not None:
            base.hold()
        self.task.hold()

    def __call__(self, prompts: list[str]) -> Float[Tensor, " n"]:
        """Accuracy of each prompt, plus a hair of its reward."""
        self.hold()  # not when it is built: the first prompt need not wait for the validation texts
        probabilities, _ = grouped_probabilities(self._work, VALIDATION, self.task, prompts)
        accuracy = (probabilities.argmax(-1) == self.task.labels).double().mean(-1)
        # The reward lies within 200, so this never outweighs one text in a set of fewer than 10,000.
        return accuracy + self.task.rewards(probabilities) / 1e8

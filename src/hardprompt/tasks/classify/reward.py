"""Few-shot text classification: a prompt is good when the task model picks the right verbalizer."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hardprompt.data.tables import Example
from hardprompt.errors import InputError
from hardprompt.lms import TaskLM
from hardprompt.lms.vocabulary import Tokens
from hardprompt.optimizers.gradient.soft import SoftPrompts
from hardprompt.tasks.classify.loss import ClassificationObjective
from hardprompt.tasks.template import Template

_LONG = 128  # tokens


class Classification:
    """The paper's reward, and predictions, of a frozen task model on one set of examples.

    Args:
        lm: the task model.
        examples: texts with labels; the labels are keys of ``verbalizers``.
        template: where text, prompt and answer stand.
        verbalizers: for each class the string that stands for it; the order is the order of the classes.
        reserve: tokens of the model's context that are kept free for a prompt when a text has to be cut.
        keep: hold the task model's keys and values of the texts; worth it for a set that is scored again and again.
        correct: weight of a positive gap.
        incorrect: weight of a negative gap.
        soft: prompts that are no text; one of their names is scored by its vectors.
        sharpness: power that the probabilities are raised to, and renormalised, inside the reward. 1 is the paper,
            whose task model is sure of itself; a small model is not, and its mean gap follows how far a prompt
            moves the probabilities more than how often it is right. Predictions do not depend on it.

    Raises:
        InputError: no example, an empty text, a label without a verbalizer, fewer than two classes, two classes
            with one verbalizer, or a template that leaves the model's context no room.

    Source: PIN App. B.2; RLPrompt (200 and 180).
    """

    def __init__(
        self,
        *,
        lm: TaskLM,
        examples: Sequence[Example],
        template: Template,
        verbalizers: Mapping[str, str],
        reserve: int = 64,
        keep: bool = True,
        correct: float = 200.0,
        incorrect: float = 180.0,
        sharpness: float = 1.0,
        soft: SoftPrompts | None = None,
    ) -> None:
        check_examples(examples, verbalizers)
        self.classes = list(verbalizers)
        self._choices = list(verbalizers.values())
        self._lm, self._template = lm, template
        if not 0.0 < sharpness < torch.inf:
            raise InputError(f"sharpness is {sharpness}; it must be a number above 0 (1 is the paper).")
        self._correct, self._incorrect, self._sharpness = correct, incorrect, sharpness
        self.labels: Int[Tensor, " n"] = torch.tensor([self.classes.index(e.label) for e in examples])
        self._texts, self.truncated = self._fit([e.text for e in examples], reserve)
        self._soft = soft
        self._objective: ClassificationObjective | None = None
        if keep:
            self.hold()

    def __call__(self, prompts: list[str]) -> Float[Tensor, " n"]:
        """Mean reward of each prompt over the examples, in [-180, 200]."""
        return self.aggregate(self.score(prompts))

    @property
    def items(self) -> int:
        """How many examples there are."""
        return len(self._texts)

    def score(self, prompts: Sequence[str], items: Sequence[int] | None = None) -> Float[Tensor, "prompts n"]:
        """Reward of each prompt on each example, or on those numbered, in [-180, 200]."""
        labels = self.labels if items is None else self.labels[list(items)]
        return self._gaps(self.probabilities(prompts, items), labels)

    def aggregate(self, scores: Float[Tensor, "prompts n"]) -> Float[Tensor, " prompts"]:
        """The mean over the examples."""
        return scores.mean(-1)

    def rewards(self, probabilities: Float[Tensor, "prompts n classes"]) -> Float[Tensor, " prompts"]:
        """The reward of each prompt from its probabilities on all examples."""
        return self.aggregate(self._gaps(probabilities, self.labels))

    def _gaps(
        self, probabilities: Float[Tensor, "prompts n classes"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, "prompts n"]:
        """200 * gap if gap > 0 else 180 * gap; gap = P(c) - max over c' != c of P(c')."""
        if self._sharpness != 1.0:
            probabilities = (probabilities.log() * self._sharpness).softmax(-1)
        index = labels.expand(len(probabilities), -1)[..., None]
        right = probabilities.gather(-1, index)[..., 0]
        rival = probabilities.scatter(-1, index, -torch.inf).amax(-1)
        gap = right - rival
        return torch.where(gap > 0, self._correct * gap, self._incorrect * gap)

    def probabilities(
        self, prompts: Sequence[str], items: Sequence[int] | None = None
    ) -> Float[Tensor, "prompts n classes"]:
        """P(class | text, prompt) of the task model, renormalised over the verbalizers, in float64.

        Of all examples, or of those numbered.

        Raises:
            InputError: as ``check_room``.
        """
        if self._soft is not None and any(prompt in self._soft for prompt in prompts):
            whole = torch.stack([self._probabilities_of(prompt) for prompt in prompts])
            return whole if items is None else whole[:, list(items)]
        self.check_room(prompts)
        if not self._template.before_prompt(""):
            # A long prompt that stands first, such as worked examples, is run once and not with every text.
            self._lm.prepare([prompt for prompt in prompts if self._lm.count(prompt) > _LONG])
        texts = self._texts if items is None else [self._texts[i] for i in items]
        filled = [self._template.fill(text, prompt) for prompt in prompts for text in texts]
        tails = {after for _, after in filled}
        if self._lm.blank:
            contexts = [before + self._lm.blank + after for before, after in filled]
            scores = self._lm.score(contexts, self._choices)
        elif len(tails) == 1:
            (after,) = tails
            scores = self._lm.score([before for before, _ in filled], [choice + after for choice in self._choices])
        else:  # the text or the prompt stands after the answer, so every context has choices of its own
            scores = torch.cat([self._lm.score([b], [choice + a for choice in self._choices]) for b, a in filled])
        return scores.double().softmax(-1).reshape(len(prompts), len(texts), len(self._choices))

    def objective(self, *, tokens: Tokens = "any", script: str = "latin") -> ClassificationObjective:
        """The loss of this task that has gradients, for prompts of such tokens.

        Raises:
            InputError: a task model without gradients, or a causal one whose prompt comes after the answer.
        """
        return ClassificationObjective(
            lm=self._lm, texts=self._texts, labels=self.labels, template=self._template, choices=self._choices,
            tokens=tokens, script=script, soft=self._soft,
        )  # fmt: skip

    def hold(self) -> None:
        """Hold the task model's keys and values of the texts from now on."""
        self._lm.prepare([self._template.before_prompt(text) for text in self._texts])

    def check_room(self, prompts: Sequence[str]) -> None:
        """Raise an InputError for a prompt that does not fit into the model's context beside the longest text."""
        if self.prompt_room is None:
            return
        for prompt in prompts:
            if (count := self._lm.count(prompt)) > self.prompt_room:
                raise InputError(
                    f"the prompt {prompt[:60]!r} has {count} tokens; beside the longest text the task model has room "
                    f"for {self.prompt_room}."
                )

    def predictions(self, prompts: Sequence[str]) -> Int[Tensor, "prompts n"]:
        """Index of the most probable class for each prompt and text."""
        return self.probabilities(prompts).argmax(-1)

    def _probabilities_of(self, prompt: str) -> Float[Tensor, "n classes"]:
        if self._soft is None or prompt not in self._soft:
            return self.probabilities([prompt])[0]
        if self._objective is None:
            self._objective = self.objective()
        with torch.no_grad():
            return self._objective.scores(self._soft[prompt][None])[0].double().softmax(-1).cpu()

    def _fit(self, texts: list[str], reserve: int) -> tuple[list[str], int]:
        """Cut texts that would push prompt or answer out of the model's context; how many were cut."""
        self.prompt_room: int | None = None  # tokens that a prompt may have beside the longest text
        if self._lm.context_length is None:
            return texts, 0
        around = self._lm.count("".join(self._template.fill("", ""))) + max(map(self._lm.count, self._choices)) + 2
        # a count includes what opens and closes a text, where the model has such tokens
        room = self._lm.context_length - around - reserve - self._lm.count("")
        if room < 1:
            raise InputError(
                f"the template leaves no room for a text: the task model reads {self._lm.context_length} tokens, "
                f"template and verbalizers take {around} and {reserve} are kept for the prompt."
            )
        fitted = [self._lm.truncate(text, room) for text in texts]
        self.prompt_room = self._lm.context_length - around - max(map(self._lm.count, fitted))
        return fitted, sum(a != b for a, b in zip(texts, fitted, strict=True))


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
            raise InputError(f"example {number} has an empty text.")
        if example.label not in verbalizers:
            raise InputError(
                f"example {number} has class {example.label!r}, which has no verbalizer; "
                f"classes with one: {', '.join(verbalizers)}."
            )

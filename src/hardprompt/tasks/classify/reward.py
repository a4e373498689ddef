"""Few-shot text classification: a prompt is good when the task model picks the right verbalizer."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hardprompt.data.saying import say_once
from hardprompt.data.tables import Example
from hardprompt.errors import InputError, unknown
from hardprompt.lms import TaskLM
from hardprompt.lms.answers import Pooling
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.vocabulary import Tokens
from hardprompt.optimizers.gradient.soft import SoftPrompts
from hardprompt.search.work import grouped
from hardprompt.tasks.classify.calibration import Leaning, leaning, without
from hardprompt.tasks.classify.examples import check_examples
from hardprompt.tasks.classify.loss import ClassificationObjective
from hardprompt.tasks.classify.prior import Calibration
from hardprompt.tasks.cutting import cut
from hardprompt.tasks.template import Template

_LONG = 128  # tokens
_NAMED = 3  # texts that a warning shows
_FAR = 1e4  # nats below the best answer, where an impossible one is put


@dataclass(kw_only=True, eq=False)
class Classification:
    """The paper's reward, and predictions, of a frozen task model on one set of examples.

    ``sharpness`` is the power that the probabilities are raised to, and renormalised, in the reward. 1 is the paper,
    whose task model is sure of itself; a small model is not, and its mean gap follows how far a prompt moves the
    probabilities more than how often it is right. Predictions do not depend on it.

    Raises:
        InputError: no example, an empty text, a label without a verbalizer, fewer than two classes, two classes
            with one verbalizer, or a template that leaves the model's context no room.

    Source: PIN App. B.2; RLPrompt (200 and 180).
    """

    lm: TaskLM  # the task model
    examples: Sequence[Example]  # texts with labels; the labels are keys of ``verbalizers``
    template: Template  # where text, prompt and answer stand
    verbalizers: Mapping[str, str]  # for each class the string that stands for it, in the order of the classes
    how: Pooling = "sum"  # what an answer of several tokens counts
    reserve: int = 64  # tokens of the model's context that are kept free for a prompt when a text has to be cut
    longest: int | None = None  # tokens of the task model at which a text is cut; None is where its context ends
    keep: bool = True  # hold the task model's keys and values of the texts; worth it for a set that is scored often
    correct: float = 200.0  # weight of a positive gap
    incorrect: float = 180.0  # weight of a negative gap
    sharpness: float = 1.0
    soft: SoftPrompts | None = None  # prompts that are no text; one of their names is scored by its vectors
    calibrate: Calibration = "none"  # what is taken from the answers, prompt by prompt, before they are compared
    prior: Float[Tensor, " classes"] | None = None  # of the classes; None is as often as they are among the examples
    base: "Classification | None" = None  # on whose texts a prompt's leaning is measured; None is these

    def __post_init__(self) -> None:
        check_examples(self.examples, self.verbalizers)
        self.classes, self._choices = list(self.verbalizers), list(self.verbalizers.values())
        if self.calibrate not in get_args(Calibration):
            raise unknown("calibration", str(self.calibrate), get_args(Calibration))
        if not 0.0 < self.sharpness < torch.inf:
            raise InputError(f"sharpness is {self.sharpness}; it must be a number above 0 (1 is the paper).")
        self.labels: Int[Tensor, " n"] = torch.tensor([self.classes.index(e.label) for e in self.examples])
        counts = self.labels.bincount(minlength=len(self.classes)).double()
        self.shares = (counts if self.prior is None else self.prior.double()) / (
            counts.sum() if self.prior is None else self.prior.double().sum()
        )
        if self.calibrate != "none" and self.base is None and bool((self.shares == 0).any()):
            missing = self.classes[int((self.shares == 0).nonzero()[0])]
            raise InputError(f"class {missing!r} has no text to calibrate its answer on.")
        self._texts, self.truncated = self._fit(self._unmasked(), self.reserve)
        self._objective: ClassificationObjective | None = None
        self._holds = False
        if self.keep:
            self.hold()

    def __call__(self, prompts: list[str]) -> Float[Tensor, " n"]:
        """Mean reward of each prompt over the examples, in [-180, 200]."""
        return (
            self.rewards(self.probabilities(prompts)) if self._leans_elsewhere else self.aggregate(self.score(prompts))
        )

    @property
    def items(self) -> int:
        """How many examples there are."""
        return len(self._texts)

    def score(self, prompts: Sequence[str], items: Sequence[int] | None = None) -> Float[Tensor, "prompts n classes"]:
        """Log-probability of each answer after each prompt and example, or those numbered, up to a constant of each.

        In nats, float64, as the task model says.

        Raises:
            InputError: as ``check_room``.
        """
        if self.soft is not None and any(prompt in self.soft for prompt in prompts):
            whole = torch.stack([self._scores_of(prompt) for prompt in prompts])
            return whole if items is None else whole[:, list(items)]
        self.check_room(prompts)
        # A long prompt that stands first, such as worked examples, is run once and not with every text.
        first = [] if self.template.before_prompt("") else [p for p in prompts if self.lm.count(p) > _LONG]
        with self.lm.preparing(first) if isinstance(self.lm, CausalLM) else contextlib.nullcontext():
            return self._score(prompts, items)

    def _score(self, prompts: Sequence[str], items: Sequence[int] | None) -> Float[Tensor, "prompts n classes"]:
        texts = self._texts if items is None else [self._texts[i] for i in items]
        filled = [self.template.fill(text, prompt) for prompt in prompts for text in texts]
        tails = {after for _, after in filled}
        if self.lm.blank:
            contexts = [before + self.lm.blank + after for before, after in filled]
            scores = self.lm.score(contexts, self._choices, how=self.how)
        elif len(tails) == 1:
            (after,) = tails
            befores = [before for before, _ in filled]
            scores = self.lm.score(befores, self._choices, after=after, how=self.how)
        else:  # the text or the prompt stands after the answer, so every context has an end of its own
            scores = torch.cat([self.lm.score([b], self._choices, after=a, how=self.how) for b, a in filled])
        return self._possible(scores.double()).reshape(len(prompts), len(texts), len(self._choices))

    def _possible(self, scores: Float[Tensor, "contexts choices"]) -> Float[Tensor, "contexts choices"]:
        """An answer without any probability beside one that has some, as a number that has none either."""
        none = scores.isneginf()
        if self.calibrate != "none" and bool(none.any()):
            word = self._choices[int(none.nonzero()[0, 1])]
            raise InputError(
                f"the task model gives the answer {word!r} no probability at all (-inf), as one that says labels only; "
                "calibration needs log-probabilities of all answers: use calibrate none."
            )
        return torch.where(none, scores.amax(-1, keepdim=True) - _FAR, scores)

    def groups(self, prompts: Sequence[str], items: Sequence[int]) -> list[list[int]]:
        """The examples in groups of so many characters, with the prompts beside each."""
        beside = sum(map(len, prompts))
        return grouped([len(self._texts[i]) + beside for i in items], items)

    def aggregate(
        self, scores: Float[Tensor, "prompts n classes"], items: Sequence[int] | None = None
    ) -> Float[Tensor, " prompts"]:
        """Mean reward over the examples from what ``score`` said, calibrated on the same examples, in [-180, 200].

        Raises:
            InputError: other examples calibrate these, so that their scores alone don't say.
        """
        if self._leans_elsewhere:
            raise InputError("these examples are calibrated by others (base): ask for probabilities, or call the task.")
        labels = self.labels if items is None else self.labels[list(items)]
        found = leaning(self.calibrate, scores, labels, self.shares)
        return self._gaps(without(found, scores), labels).mean(-1)

    @property
    def _leans_elsewhere(self) -> bool:
        return self.leans_by not in (None, self)

    @property
    def leans_by(self) -> "Classification | None":
        """Whose scores say what is taken from the answers; None where nothing is."""
        return None if self.calibrate == "none" else self.base or self

    def leaning(self, scores: Float[Tensor, "prompts n classes"] | None) -> Leaning | None:
        """What is taken from the answers after each prompt, by its scores on all examples of ``leans_by``."""
        base = self.leans_by
        if base is None or scores is None:
            return None
        return leaning(self.calibrate, scores, base.labels, base.shares)

    def right(self, scores: Float[Tensor, "prompts n classes"]) -> Bool[Tensor, "prompts n"]:
        """Which examples are classified rightly, by what ``score`` said of all; calibrated on these examples."""
        found = leaning(self.calibrate, scores, self.labels, self.shares)
        return without(found, scores).argmax(-1) == self.labels

    def rewards(self, probabilities: Float[Tensor, "prompts n classes"]) -> Float[Tensor, " prompts"]:
        """The reward of each prompt from its probabilities on all examples."""
        return self._gaps(probabilities, self.labels).mean(-1)

    def _gaps(
        self, probabilities: Float[Tensor, "prompts n classes"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, "prompts n"]:
        """200 * gap if gap > 0 else 180 * gap; gap = P(c) - max over c' != c of P(c')."""
        if self.sharpness != 1.0:
            probabilities = (probabilities.log() * self.sharpness).softmax(-1)
        index = labels.expand(len(probabilities), -1)[..., None]
        right = probabilities.gather(-1, index)[..., 0]
        rival = probabilities.scatter(-1, index, -torch.inf).amax(-1)
        gap = right - rival
        return torch.where(gap > 0, self.correct * gap, self.incorrect * gap)

    def probabilities(self, prompts: Sequence[str]) -> Float[Tensor, "prompts n classes"]:
        """P(class | text, prompt) of the task model, calibrated, renormalised over the verbalizers, in float64.

        Raises:
            InputError: as ``check_room``.
        """
        base, scores = self.leans_by, self.score(prompts)
        taken = None if base is None else self.leaning(scores if base is self else base.score(prompts))
        return without(taken, scores)

    def objective(self, *, tokens: Tokens = "any", script: str = "latin") -> ClassificationObjective:
        """The loss of this task that has gradients, for prompts of such tokens.

        Raises:
            InputError: a task model without gradients, or a causal one whose prompt comes after the answer.
        """
        return ClassificationObjective(
            lm=self.lm, texts=self._texts, labels=self.labels, template=self.template, choices=self._choices,
            how=self.how, tokens=tokens, script=script, soft=self.soft, calibrate=self.calibrate, prior=self.shares,
        )  # fmt: skip

    def hold(self) -> None:
        """Hold the task model's keys and values of the texts from now on, as far as there is room when first asked."""
        if self._holds:
            return
        self._holds = True
        self.lm.prepare([self.template.before_prompt(text) for text in self._texts])

    def lengths(self) -> list[int]:
        """Tokens of the texts in their place, without a prompt."""
        return [self.lm.count("".join(self.template.fill(text, ""))) for text in self._texts]

    @property
    def normalised(self) -> bool:
        """Whether an answer, with what stands behind it, has tokens after its first, which the vocabulary is for."""
        _, after = self.template.fill("", "")
        return self.how != "first" and any(self.lm.count(choice + after) > 1 for choice in self._choices)

    def check_room(self, prompts: Sequence[str]) -> None:
        """Raise an InputError for a prompt that does not fit into the model's context beside the longest text."""
        if self.prompt_room is None:
            return
        for prompt in prompts:
            if (count := self.lm.count(prompt)) > self.prompt_room:
                raise InputError(
                    f"the prompt {prompt[:60]!r} has {count} tokens; beside the longest text the task model has room "
                    f"for {self.prompt_room}."
                )

    def predictions(self, prompts: Sequence[str]) -> Int[Tensor, "prompts n"]:
        """Index of the most probable class for each prompt and text."""
        return self.probabilities(prompts).argmax(-1)

    def _scores_of(self, prompt: str) -> Float[Tensor, "n classes"]:
        if self.soft is None or prompt not in self.soft:
            return self.score([prompt])[0]
        if self._objective is None:
            self._objective = self.objective()
        with torch.no_grad():
            return self._objective.scores(self.soft[prompt][None])[0].double().cpu()

    def _unmasked(self) -> list[str]:
        """The texts, a mask token of the task model in one of them apart, so that it is read as the letters it is."""
        texts, blank = [example.text for example in self.examples], self.lm.blank
        places = (example.where or f"text {number}" for number, example in enumerate(self.examples, 1))
        holding = [(where, text) for where, text in zip(places, texts, strict=True) if blank and blank in text]
        if not holding:
            return texts
        apart = f"{blank[0]} {blank[1:]}"
        named = ", ".join(f"{where} ({text[:40]!r})" for where, text in holding[:_NAMED])
        say_once(
            f"the task model's mask token {blank!r} stands in {len(holding)} of {len(texts)} texts and is read as "
            f"{apart!r} there: {named}"
        )
        return [text.replace(blank, apart) for text in texts]

    def _fit(self, texts: list[str], reserve: int) -> tuple[list[str], int]:
        """Cut texts that are too long, or would push prompt or answer out of the model's context; how many were cut."""
        self.prompt_room: int | None = None  # tokens that a prompt may have beside the longest text
        limits = [] if self.longest is None else [self.longest]
        around = 0
        if self.lm.context_length is not None:
            around = self.lm.count("".join(self.template.fill("", ""))) + max(map(self.lm.count, self._choices)) + 2
            # a count includes what opens and closes a text, where the model has such tokens
            room = self.lm.context_length - around - reserve - self.lm.count("")
            if room < 1:
                raise InputError(
                    f"the template leaves no room for a text: the task model reads {self.lm.context_length} tokens, "
                    f"template and verbalizers take {around} and {reserve} are kept for the prompt."
                )
            limits.append(room)
        if not limits:
            return texts, 0
        most = min(limits)
        fitted, number = cut(self.lm, texts, most)
        if self.lm.context_length is not None:
            self.prompt_room = self.lm.context_length - around - max(map(self.lm.count, fitted))
        return fitted, number

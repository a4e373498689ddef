"""A classification task that is loaded: its reward, how its prompt is chosen and tested, and how it is used."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from hardprompt.data.files import csv_text
from hardprompt.data.tables import Example, Row
from hardprompt.lms import TaskLM
from hardprompt.lms.placing import search_copy
from hardprompt.lms.vocabulary import Tokens
from hardprompt.optimizers import Need
from hardprompt.optimizers.gradient.soft import SoftPrompts
from hardprompt.search.choice import choose
from hardprompt.search.engine import Trial
from hardprompt.search.files import write_bytes, write_text
from hardprompt.search.rewards import Cached
from hardprompt.tasks.classify.demonstrations import Demonstrations
from hardprompt.tasks.classify.metrics import classification_metrics, paired_difference
from hardprompt.tasks.classify.reward import Classification
from hardprompt.tasks.classify.table import PREDICTIONS
from hardprompt.tasks.protocol import Perplexity
from hardprompt.tasks.template import Template

_SOFT_FILE = "soft_prompt.safetensors"
_RESERVE = 64  # tokens that a prompt may have beside a long test text; one that has more keeps what it needs
_START_WORDS = 64  # of the text that the policy model imagines before a prompt


class ValidationAccuracy:
    """Chooses by what will be reported: accuracy, and the mean probability gap only to part equals."""

    def __init__(self, task: Classification) -> None:
        self.task = task

    def __call__(self, prompts: list[str]) -> torch.Tensor:
        """Accuracy of each prompt, plus a hair of its reward."""
        self.task.hold()  # not when it is built: the first prompt need not wait for the validation texts
        probabilities = self.task.probabilities(prompts)
        accuracy = (probabilities.argmax(-1) == self.task.labels).double().mean(-1)
        # The reward lies within 200, so this never outweighs one text in a set of fewer than 10,000.
        return accuracy + self.task.rewards(probabilities) / 1e8


class ClassifyTask:
    """A classification task with its texts and its task model.

    Args:
        lm: the task model, in float32.
        train: texts whose reward a search learns from.
        validation: texts that choose the prompt.
        test: texts touched once, at the end.
        template: where text, prompt and answer stand.
        verbalizers: for each class the string that stands for it.
        manual: the hand-written prompt to compare with.
        instruction: for the methods that begin with one.
        precision: of the rewards that the search learns from; ``auto`` is half where that pays.
        sharpness: of the reward; 1 is the paper, 8 is closer to accuracy.
        leads: prompts stand before everything, the template holding the hand-written one.
        model: what the task model is called on the card.

    Raises:
        InputError: anything about texts, template, verbalizers or model.
    """

    def __init__(
        self,
        *,
        lm: TaskLM,
        train: Sequence[Row],
        validation: Sequence[Row],
        test: Sequence[Row],
        template: Template,
        verbalizers: Mapping[str, str],
        manual: str = "The sentiment is",
        instruction: str | None = None,
        precision: str = "auto",
        sharpness: float = 8.0,
        leads: bool = False,
        model: str = "the task model",
    ) -> None:
        self._written_template = template
        self._template = Template(template.source, lead=template.joined(manual)) if leads else template
        self.leads, self._model = leads, model
        self._manual, self._instruction = manual, instruction
        self._texts = {"train": list(train), "validation": list(validation), "test": list(test)}
        self.verbalizers = dict(verbalizers)
        self.classes = list(verbalizers)
        self._lm = lm
        self._soft = SoftPrompts()
        self._found, self._tested = "", list[str]()
        search_lm, self.precision = search_copy(lm, precision)
        self._train = self._classification(train, lm=search_lm, sharpness=sharpness)
        self._validation = self._classification(validation, sharpness=sharpness, keep=False)
        for task in (self._train, self._validation):
            task.check_room([self.manual])
        self.reward = Cached(self._train)
        self.validate = ValidationAccuracy(self._validation)

    @property
    def manual(self) -> str:
        """The hand-written prompt, with the space that the template needs before it."""
        return "" if self.leads else self._template.joined(self._manual)

    def give(self, need: Need, *, tokens: Tokens, script: str) -> Any:
        """What a person wrote, as the template needs it; examples to show; a loss with gradients, in float32."""
        if need is Need.EXAMPLES:
            rooms = [task.prompt_room for task in (self._train, self._validation)]
            return Demonstrations(
                [row.example for row in self._texts["train"]], self._rendered,
                min(10**9 if room is None else room for room in rooms), self._lm.count,
            )  # fmt: skip
        if need is Need.OBJECTIVE:
            task = self._classification(self._texts["train"], keep=False)
            return task.objective(tokens=tokens, script=script)
        written = self._manual if need is Need.MANUAL or self._instruction is None else self._instruction
        return self._template.joined(written)

    def _classification(self, rows: Sequence[Row], *, lm: TaskLM | None = None, **settings: Any) -> Classification:
        return Classification(
            lm=self._lm if lm is None else lm, examples=[row.example for row in rows], template=self._template,
            verbalizers=self.verbalizers, soft=self._soft, **settings,
        )  # fmt: skip

    def _rendered(self, example: Example) -> str:
        before, after = self._written_template.fill(example.text, self._written_template.joined(self._manual))
        return f"{before}{self.verbalizers[example.label]}{after}\n\n"

    @property
    def spaced(self) -> bool:
        """As the template has it."""
        return self._template.spaced

    @property
    def start(self) -> str:
        """The training text of median length in its place.

        A prompt is proposed as a continuation of what it will stand behind; a template that begins with the prompt
        leaves nothing to imagine.
        """
        return self._template.in_place([row.text for row in self._texts["train"]], words=_START_WORDS)

    def choose(self, trials: Sequence[Trial], perplexity: Perplexity) -> Trial:
        """The most natural of those that validation cannot tell from the best; the best of those that are no text."""
        if len(self._soft):
            return max(trials, key=lambda trial: trial.score)
        return choose(trials, len(self._texts["validation"]), perplexity)

    def shown(self, prompt: str) -> str:
        """As it is."""
        return prompt

    def report(self, prompt: str) -> dict[str, Any]:
        """The found prompt, the empty one and the manual one, side by side on the test texts."""
        self._validation.hold()  # as in a run that was not resumed: what is held decides what shares a batch
        rows = self._texts["test"]
        task = self._classification(rows, keep=False, reserve=max(_RESERVE, self._lm.count(prompt)))
        others = {"manual": ""} if self.leads else {"empty": "", "manual": self.manual}
        shown = {**others, **({"manual": self._manual} if self.leads else {})}  # there it is in the template
        names = list(dict.fromkeys([prompt, *others.values()]))
        predicted = dict(zip(names, task.predictions(names).numpy(), strict=True))
        labels = task.labels.numpy()
        self._found = prompt
        self._tested = [self.classes[i] for i in predicted[prompt]]

        def tested(prompt: str) -> dict[str, Any]:
            return classification_metrics(labels, predicted[prompt], self.classes)

        return {
            "template": self._template.shown,
            "readable": prompt not in self._soft,
            "verbalizers": self.verbalizers,
            "test": tested(prompt),
            "difference_to_manual": paired_difference(labels, predicted[prompt], predicted[self.manual]),
            "baselines": [
                {"name": name, "prompt": shown[name], "test": tested(other), "evaluations": 0}
                for name, other in others.items()
            ],
            "texts": {
                "train": len(self._texts["train"]),
                "validation": len(self._texts["validation"]),
                "test": len(rows),
                "truncated": self._train.truncated + self._validation.truncated + task.truncated,
            },
        }

    def card(self, result: Mapping[str, Any]) -> str:
        """The filled template and the words to compare."""
        test = result["test"]
        before, after = self._template.fill("{text}", result["prompt"])
        filled = f"{before}{{answer}}{after}" if after else before
        words = "\n".join(f"- `{label}`: the model answers `{word}`" for label, word in self.verbalizers.items())
        low, high = test["interval"]
        how = (
            f"Give the model this, with your text in place of `{{text}}`:\n\n```\n{filled}\n```\n\n"
            f"and compare the probabilities of these {'answers' if after else 'continuations'}:\n\n{words}\n\n"
        )
        if not result["readable"]:
            how = (
                f"`{_SOFT_FILE}` holds vectors that stand where the template has `{{prompt}}`:\n\n```\n"
                f"{self._template.shown}\n```\n\nThey are no text: they cannot be read, pasted, or moved to another "
                f"model.\n\n"
            )
        return (
            f"# A prompt for {self._model}\n\n{how}"
            f"Accuracy on {test['n']} texts that took no part: {test['accuracy']:.3f} "
            f"(95 % interval {low:.3f} to {high:.3f}), macro-F1 {test['macro_f1']:.3f}.\n"
        )

    def write(self, out: Path) -> None:
        """What was predicted for each test text; and a soft prompt, which ``result.json`` can only name."""
        rows = (
            [row.text, row.label, name, int(row.label == name)]
            for row, name in zip(self._texts["test"], self._tested, strict=True)
        )
        write_text(out / PREDICTIONS, csv_text(["text", "label", "predicted", "right"], rows))
        if self._found in self._soft:
            write_bytes(out / _SOFT_FILE, save({"prompt": self._soft[self._found]}))

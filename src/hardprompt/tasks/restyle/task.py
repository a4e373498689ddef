"""A style transfer task that is loaded: its reward, how its prompt is chosen and tested, and how it is used."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from hardprompt.data.files import csv_text
from hardprompt.errors import MissingExtra
from hardprompt.lms.vocabulary import Tokens
from hardprompt.optimizers import Need
from hardprompt.search.choice import most_natural
from hardprompt.search.engine import Trial
from hardprompt.search.files import write_text
from hardprompt.search.rewards import Cached, PerStep
from hardprompt.tasks.protocol import Notify, Perplexity
from hardprompt.tasks.restyle.fluency import Fluency
from hardprompt.tasks.restyle.metrics import bleu, joint, paired_joint, style_metrics
from hardprompt.tasks.restyle.reward import Content, Output, Restyle, score
from hardprompt.tasks.restyle.styles import StyleModel, TrainedStyle
from hardprompt.tasks.restyle.table import OUTPUTS
from hardprompt.tasks.restyle.texts import Texts
from hardprompt.tasks.template import Template

_LOG = logging.getLogger(__name__)

_REAL = 100  # sentences of each style whose median perplexity is the measure of fluency
_IMAGINED = 3  # texts of each kind that the policy model reads before it proposes,
_WORDS = 24  # so many words of each
_SEED = 0  # validation and test draw the same random numbers whatever the run's seed: runs are then alike in them
_SHOWN = 5  # outputs in the tables and on the card


class RestyleTask:
    """A style transfer task with its texts, its task model and what scores it.

    Args:
        lm: the task model, which generates.
        texts: in three sets, and the examples of both styles.
        template: where text and prompt stand.
        content: how much of each source its output keeps.
        style: of the target, for the reward.
        test_style: of the target, for the test; best one that took no part in the search.
        fluency: makes, of real sentences, the measure of fluency.
        classifier: what is known of the styles if they were trained.
        manual: a hand-written prompt to compare with.
        instruction: for the methods that begin with one.
        samples: rewritings of each text, of which the best counts.
        stop: what ends a rewriting, beside the end of the line.
        per_step: training texts of a step, drawn anew for each; None is all.
        zscore: normalise each text's scores over the prompts of a step.
        seed: of what is drawn in training.
        model: what the task model is called on the card.
        notify: says what is being waited for.

    Raises:
        InputError: anything about texts, template or models.
    """

    precision = "float32"  # what was measured: half precision pays for long sequences, and this goes token by token
    leads = False

    def __init__(
        self,
        *,
        lm: Any,
        texts: Texts,
        template: Template,
        content: Content,
        style: StyleModel,
        test_style: StyleModel,
        fluency: Callable[[Sequence[str]], Fluency],
        classifier: Mapping[str, Any] | None = None,
        manual: str | None = None,
        instruction: str | None = None,
        samples: int = 4,
        stop: str = '"',
        per_step: int | None = None,
        zscore: bool = False,
        seed: int = 0,
        model: str = "the task model",
        notify: Notify = lambda _: None,
    ) -> None:
        self._lm, self.texts, self._template, self._content = lm, texts, template, content
        self._style, self._test_style, self._fluency, self.classifier = style, test_style, fluency, classifier
        self._manual, self._instruction, self._samples, self._stop = manual, instruction, samples, stop
        self._model, self._notify = model, notify
        train = self._task(texts.train, seed=seed)
        for task in (train, self._task(texts.validation), self._task(texts.test)):
            task.check_room(lm.context_length, ["", *([] if self.manual is None else [self.manual])])
        cached = Cached(train)
        self.reward: Cached | PerStep = (
            PerStep(cached, per_step=per_step or len(texts.train), zscore=zscore, seed=seed)
            if per_step or zscore
            else cached
        )
        self._validation = self._task(texts.validation)
        self._written: dict[str, list[Output]] = {}
        self._columns: dict[str, torch.Tensor] = {}

    def validate(self, prompts: list[str]) -> torch.Tensor:
        """Mean reward on the validation texts."""
        self._notify(f"validating {len(prompts)} prompts on {len(self.texts.validation)} texts")
        return self._validation(prompts)

    @property
    def spaced(self) -> bool:
        """As the template has it."""
        return self._template.spaced

    @property
    def start(self) -> str:
        """A few texts of each kind, and the beginning of a sentence that a prompt completes: how to get to the other.

        Without examples of the target style it is the template up to the prompt, around a training text.

        Source: instruction induction (Honovich et al., 2023), here with texts that are no pairs.
        """
        if not self.texts.target:
            return self._template.in_place(self.texts.train, words=_WORDS)
        kinds = (self.texts.train[:_IMAGINED], self.texts.target[:_IMAGINED])
        first, second = ("".join(f"- {' '.join(text.split()[:_WORDS])}\n" for text in kind) for kind in kinds)
        gap = "" if self.spaced else "\n"  # as tokens are: a word without a space before it begins a line
        return (
            f"Sentences of the first kind:\n{first}Sentences of the second kind:\n{second}"
            f"To turn the first kind into the second:{gap}"
        )

    @property
    def manual(self) -> str | None:
        """The hand-written prompt, if any, with the space that the template needs before it."""
        return None if self._manual is None else self._template.joined(self._manual)

    def give(self, need: Need, *, tokens: Tokens, script: str) -> str:  # noqa: ARG002
        """What a person wrote, as the template needs it."""
        written = self._manual if need is Need.MANUAL or self._instruction is None else self._instruction
        return self._template.joined(written or "")

    def choose(self, trials: Sequence[Trial], perplexity: Perplexity) -> Trial:
        """The most natural of those that validation cannot tell from the best.

        The standard error is that of the best one's mean over the validation texts.
        """
        top = max(trials, key=lambda trial: trial.score)
        (scores,) = self._validation.score([top.prompt])
        error = float(scores.std()) / math.sqrt(len(scores)) if len(scores) > 1 else 0.0
        return most_natural(trials, error, perplexity)

    def shown(self, prompt: str) -> str:
        """As it is."""
        return prompt

    def report(self, prompt: str) -> dict[str, Any]:
        """The found prompt, the empty one, the manual one, and the copied input, side by side on the test texts."""
        task = self._task(self.texts.test)
        others = {"empty": "", **({} if self.manual is None else {"manual": self.manual})}
        names = list(dict.fromkeys([prompt, *others.values()]))
        written = {}
        for name in names:  # one by one: this is minutes of work, and a person is waiting
            self._notify(f"rewriting {len(self.texts.test)} test texts with {name!r}")
            (written[name],) = task.outputs([name])
        # What costs nothing: the input copied, and one sentence of the target style in answer to everything.
        trivial = {"copy": self.texts.test}
        if self.texts.target:
            likely = self._style.target(self.texts.target[:_REAL]).argmax()
            trivial["constant"] = [self.texts.target[int(likely)]] * len(self.texts.test)
        free = {
            name: score(list(zip(self.texts.test, texts, strict=True)), self._content, self._style)
            for name, texts in trivial.items()
        }
        fluency = self._fluency([*self.texts.source[:_REAL], *self.texts.target[:_REAL]])
        columns: dict[tuple[str, bool], dict[str, torch.Tensor]] = {}
        everything = {**{(name, True): o for name, o in free.items()}, **{(p, False): o for p, o in written.items()}}
        self._notify(f"measuring fluency: {fluency.name}")
        for key, outputs in everything.items():
            texts = [output.text for output in outputs]
            columns[key] = {
                "content": torch.tensor([output.content for output in outputs], dtype=torch.float64),
                "style": (self._test_style.target(texts) > 0.5).double(),
                "fluency": fluency.score(texts).double(),
            }
        tested = {}
        for key, outputs in everything.items():
            tested[key] = style_metrics(**columns[key])
            if self.texts.references is not None:
                try:
                    tested[key] |= bleu([output.text for output in outputs], self.texts.references)
                except MissingExtra as error:
                    _LOG.warning("BLEU is left out: %s", error)
        gain = {}
        if self.manual is not None:
            ours, theirs = joint(**columns[prompt, False]), joint(**columns[self.manual, False])
            gain["difference_to_manual"] = paired_joint(ours, theirs)
        self._written = {"found": written[prompt], **{name: written[other] for name, other in others.items()}}
        self._columns = columns[prompt, False]
        return {
            "template": self._template.source,
            "stop": self._stop,
            "test": tested[prompt, False],
            "fluency_by": fluency.how,
            "style_by": self._test_style.name,
            "classifier": self.classifier,
            **gain,
            "baselines": [
                *({"name": name, "prompt": None, "test": tested[name, True], "evaluations": 0} for name in free),
                *(
                    {"name": name, "prompt": other, "test": tested[other, False], "evaluations": 0}
                    for name, other in others.items()
                ),
            ],
            "examples": [
                {"text": text, "output": output.text}
                for text, output in zip(self.texts.test[:_SHOWN], written[prompt], strict=False)
            ],
            "texts": {
                "train": len(self.texts.train),
                "validation": len(self.texts.validation),
                "test": len(self.texts.test),
            },
        }

    def card(self, result: Mapping[str, Any]) -> str:
        """The filled template, and what it does to a few texts."""
        test = result["test"]
        before, _ = self._template.fill("{text}", result["prompt"])
        examples = "\n".join(f"- {row['text']}\n  → {row['output']}" for row in result["examples"])
        low, high = test["interval"]
        return (
            f"# A prompt for {self._model}\n\n"
            f"Give the model this, with your text in place of `{{text}}`:\n\n```\n{before}\n```\n\n"
            f"Of {self._samples} continuations, sampled among the 10 likeliest tokens and cut at the first "
            f"`{self._stop}` or line break, the one that scored best on content and style was kept.\n\n"
            f"On {test['n']} texts that took no part: J {test['j']:.3f} (95 % interval {low:.3f} to {high:.3f}), "
            f"content {test['content']:.3f}, style {test['style']:.3f}, fluency {test['fluency']:.3f}.\n\n"
            f"{examples}\n"
        )

    def write(self, out: Path) -> None:
        """The outputs on the test texts, and the trained classifiers."""
        references = self.texts.references
        rows = (
            [
                text, *([references[i]] if references else []), *(o[i].text for o in self._written.values()),
                *(f"{float(values[i]):.4f}" for values in self._columns.values()),
            ]
            for i, text in enumerate(self.texts.test)
        )  # fmt: skip
        head = ["text", *(["reference"] if references else []), *self._written, *self._columns]
        write_text(out / OUTPUTS, csv_text(head, rows))
        for name, style in (("style-reward", self._style), ("style-test", self._test_style)):
            if isinstance(style, TrainedStyle):
                style.save(out / f"{name}.safetensors")

    def _task(self, texts: Sequence[str], *, seed: int = _SEED) -> Restyle:
        return Restyle(
            lm=self._lm, texts=texts, template=self._template, content=self._content, style=self._style,
            samples=self._samples, stop=self._stop, seed=seed,
        )  # fmt: skip

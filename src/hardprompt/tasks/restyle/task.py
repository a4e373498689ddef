"""A style transfer task that is loaded: its reward, how its prompt is chosen and tested, and how it is used."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hardprompt.data.files import csv_text, place
from hardprompt.data.markdown import block, code, plain
from hardprompt.errors import MissingExtra
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.footprint import footprint
from hardprompt.lms.tokens import say_controls
from hardprompt.lms.vocabulary import Tokens
from hardprompt.optimizers import Need
from hardprompt.search.choice import most_natural
from hardprompt.search.engine import Trial
from hardprompt.search.forecast import Stages
from hardprompt.search.rewards import Cached, PerStep
from hardprompt.search.work import TEST, VALIDATION, Work, grouped
from hardprompt.search.writing import write_text
from hardprompt.tasks.cutting import cut
from hardprompt.tasks.protocol import SPLITS, Notify, Perplexity, written
from hardprompt.tasks.restyle.fluency import Fluency
from hardprompt.tasks.restyle.metrics import bleu, joint, paired_joint, style_metrics
from hardprompt.tasks.restyle.reward import Content, Output, Restyle, score
from hardprompt.tasks.restyle.styles import StyleModel, TrainedStyle
from hardprompt.tasks.restyle.table import OUTPUTS
from hardprompt.tasks.restyle.texts import LEFT_OUT, Texts
from hardprompt.tasks.template import Template

_LOG = logging.getLogger(__name__)

_REAL = 100  # sentences of each style whose median perplexity is the measure of fluency
_IMAGINED = 3  # texts of each kind that the policy model reads before it proposes,
_WORDS = 24  # so many words of each
_PROMPTS = 16  # of a step, whose memory is estimated
_SEED = 0  # validation and test draw the same random numbers whatever the run's seed: runs are then alike in them
_SHOWN = 5  # outputs in the tables and on the card


@dataclass(kw_only=True, eq=False)
class RestyleTask:
    """A style transfer task with its texts, its task model and what scores it.

    Raises:
        InputError: anything about texts, template or models.
    """

    precision = "float32"  # what was measured: half precision pays for long sequences, and this goes token by token
    leads = False

    lm: Any  # the task model, which generates
    texts: Texts  # in three sets, and the examples of both styles
    template: Template  # where text and prompt stand
    content: Content  # how much of each source its output keeps
    style: StyleModel  # of the target, for the reward
    test_style: StyleModel  # of the target, for the test; best one that took no part in the search
    fluency: Callable[[Sequence[str]], Fluency]  # makes, of real sentences, the measure of fluency
    classifier: Mapping[str, Any] | None = None  # what is known of the styles if they were trained
    manual: str | None = None  # a hand-written prompt to compare with; with the space that the template needs before it
    instruction: str | None = None  # for the methods that begin with one
    samples: int = 4  # rewritings of each text, of which the best counts
    stop: str = '"'  # what ends a rewriting, beside the end of the line
    per_step: int | None = None  # training texts of a step, drawn anew for each; None is all
    zscore: bool = False  # normalise each text's scores over the prompts of a step
    seed: int = 0  # of what is drawn in training
    model: str = "the task model"  # what the task model is called on the card
    max_text_tokens: int | None = None  # of the task model, at which a text is cut; None is never
    notify: Notify = lambda _: None  # says what is being waited for

    def __post_init__(self) -> None:
        self._truncated = 0
        if self.max_text_tokens is not None:
            sets = (self.texts.train, self.texts.validation, self.texts.test)
            made = [cut(self.lm, texts, self.max_text_tokens) for texts in sets]
            (train, _), (validation, _), (test, _) = made
            self.texts = replace(self.texts, train=train, validation=validation, test=test)
            self._truncated = sum(number for _, number in made)
        self.manual = None if self.manual is None else self.template.joined(self.manual)
        self.spaced = self.template.spaced
        if isinstance(self.lm, CausalLM):
            used = [one for part, one in self.texts.places if part != LEFT_OUT]
            say_controls(self.lm.tokenizer, ((place(one.file, one.number), one.text) for one in used))
        rewarded, self._validation = self._task(self.texts.train, seed=self.seed), self._task(self.texts.validation)
        tasks = (rewarded, self._validation, self._task(self.texts.test))
        for task in tasks:
            task.check_room(self.lm.context_length, ["", *([] if self.manual is None else [self.manual])])
        needed = footprint([], [(self.lm, task.writing(_PROMPTS)) for task in tasks])
        self.notify(str(needed))
        needed.warn()
        self.work, self._train = Work(), rewarded
        self.reward: Cached | PerStep = Cached(rewarded, work=self.work)
        if self.per_step or self.zscore:
            per_step = self.per_step or len(self.texts.train)
            self.reward = PerStep(self.reward, per_step=per_step, zscore=self.zscore, seed=self.seed)
        self._written: dict[str, list[Output]] = {}
        self._columns: dict[str, torch.Tensor] = {}

    def validate(self, prompts: list[str]) -> torch.Tensor:
        """Mean reward on the validation texts."""
        self.notify(f"validating {len(prompts)} prompts on {len(self.texts.validation)} texts")
        return self._validation.aggregate(self._validated(VALIDATION, prompts))

    @property
    def start(self) -> str:
        """A few texts of each kind, and the beginning of a sentence that a prompt completes: how to get to the other.

        Without examples of the target style it is the template up to the prompt, around a training text.

        Source: instruction induction (Honovich et al., 2023), here with texts that are no pairs.
        """
        if not self.texts.target:
            return self.template.in_place(self.texts.train, words=_WORDS)
        kinds = (self.texts.train[:_IMAGINED], self.texts.target[:_IMAGINED])
        first, second = ("".join(f"- {' '.join(text.split()[:_WORDS])}\n" for text in kind) for kind in kinds)
        gap = "" if self.spaced else "\n"  # as tokens are: a word without a space before it begins a line
        return (
            f"Sentences of the first kind:\n{first}Sentences of the second kind:\n{second}"
            f"To turn the first kind into the second:{gap}"
        )

    def give(self, need: Need, *, tokens: Tokens, script: str) -> str:  # noqa: ARG002
        """What a person wrote, as the template needs it."""
        return self.template.joined(written(need, self.manual, self.instruction))

    @property
    def stages(self) -> Stages:
        """A search, a validation and a test that all write."""
        tested = 2 + (self.manual is not None)
        lower = ("--shots", "--samples", "--validation-rows", "--test-rows")
        return Stages(
            self._train,
            validation=len(self.texts.validation),
            test=len(self.texts.test),
            tested=tested,
            lower=lower,
            free=isinstance(self.lm, CausalLM),
        )

    def choose(self, trials: Sequence[Trial], perplexity: Perplexity) -> Trial:
        """The most natural of those that validation cannot tell from the best.

        The standard error is that of the best one's mean over the validation texts.
        """
        top = max(trials, key=lambda trial: trial.score)
        (scores,) = self._validated("chosen", [top.prompt])
        error = float(scores.std()) / math.sqrt(len(scores)) if len(scores) > 1 else 0.0
        return most_natural(trials, error, perplexity)

    def shown(self, prompt: str) -> str:
        """As it is."""
        return prompt

    def report(self, prompt: str) -> dict[str, Any]:
        """The found prompt, the empty one, the manual one, and the copied input, side by side on the test texts."""
        task, test = self._task(self.texts.test), self.texts.test
        others = {"empty": "", **({} if self.manual is None else {"manual": self.manual})}
        written: dict[str, list[Output]] = {}
        for text in dict.fromkeys([prompt, *others.values()]):  # one by one: it is minutes of work, and a person waits
            self.notify(f"rewriting {len(test)} test texts with {text!r}")
            written[text] = self._rewritten(task, text)
        # What costs nothing: the input copied, and one sentence of the target style in answer to everything.
        trivial = {"copy": test}
        if self.texts.target:
            likely = self.style.target(self.texts.target[:_REAL]).argmax()
            trivial["constant"] = [self.texts.target[int(likely)]] * len(test)
        free = {n: score(list(zip(test, o, strict=True)), self.content, self.style) for n, o in trivial.items()}
        fluency = self.fluency([*self.texts.source[:_REAL], *self.texts.target[:_REAL]])
        self.notify(f"measuring fluency: {fluency.name}")

        def fluent(texts: list[str]) -> torch.Tensor:
            groups = grouped(list(map(len, texts)), range(len(texts)))
            made = self.work.each(
                "fluency", ["\n".join(texts)], groups, lambda at: fluency.score([texts[i] for i in at])[None]
            )
            return torch.cat(made, dim=1)[0].double()

        def measured(outputs: list[Output]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
            texts = [output.text for output in outputs]
            columns = {
                "content": torch.tensor([output.content for output in outputs], dtype=torch.float64),
                "style": (self.test_style.target(texts) > 0.5).double(),
                "fluency": fluent(texts),
            }
            found = style_metrics(**columns)
            if self.texts.references is not None:
                try:
                    found |= bleu(texts, self.texts.references)
                except MissingExtra as error:
                    _LOG.warning("BLEU is left out: %s", error)
            return columns, found

        rows = [(name, None, measured(outputs)[1]) for name, outputs in free.items()]
        tested = {text: measured(outputs) for text, outputs in written.items()}
        self._columns, found = tested[prompt]
        gain = {}
        if self.manual is not None:
            ours, theirs = joint(**self._columns), joint(**tested[self.manual][0])
            gain["difference_to_manual"] = paired_joint(ours, theirs)
        self._written = {"found": written[prompt], **{name: written[other] for name, other in others.items()}}
        return {
            "template": self.template.source,
            "stop": self.stop,
            "test": found,
            "fluency_by": fluency.how,
            "style_by": self.test_style.name,
            "classifier": self.classifier,
            **gain,
            "baselines": [
                {"name": name, "prompt": text, "test": measures, "evaluations": 0}
                for name, text, measures in (*rows, *((n, other, tested[other][1]) for n, other in others.items()))
            ],
            "examples": [{"text": t, "output": o.text} for t, o in zip(test[:_SHOWN], written[prompt], strict=False)],
            "texts": {**self.texts.sizes, "truncated": self._truncated},
        }

    def card(self, result: Mapping[str, Any]) -> str:
        """The filled template, and what it does to a few texts."""
        test = result["test"]
        before, _ = self.template.fill("{text}", result["prompt"])
        examples = "\n".join(f"- {plain(row['text'])}\n  → {plain(row['output'])}" for row in result["examples"])
        low, high = test["interval"]
        return (
            f"# A prompt for {plain(self.model)}\n\n"
            f"Give the model this, with your text in place of `{{text}}`:\n\n{block(before)}\n\n"
            f"Of {self.samples} continuations, sampled among the 10 likeliest tokens and cut at the first "
            f"{code(self.stop)} or line break, the one that scored best on content and style was kept.\n\n"
            f"On {test['n']} texts that took no part: J {test['j']:.3f} (95 % interval {low:.3f} to {high:.3f}), "
            f"content {test['content']:.3f}, style {test['style']:.3f}, fluency {test['fluency']:.3f}.\n\n"
            f"{examples}\n"
        )

    def write(self, out: Path) -> None:
        """The outputs on the test texts, which line of which file took which part, and the trained classifiers."""
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
        used = ([part, one.file, one.number] for part, one in self.texts.places)
        write_text(out / SPLITS, csv_text(["part", "file", "line"], used))
        for name, style in (("style-reward", self.style), ("style-test", self.test_style)):
            if isinstance(style, TrainedStyle):
                style.save(out / f"{name}.safetensors")

    def _rewritten(self, task: Restyle, prompt: str) -> list[Output]:
        def made(items: list[int]) -> list[list[Any]]:
            return [[astuple(output) for output in row] for row in task.outputs([prompt], items)]

        groups = self.work.each(TEST, [prompt], task.groups([prompt], range(task.items)), made)
        return [Output(*output) for (row,) in groups for output in row]

    def _validated(self, part: str, prompts: list[str]) -> torch.Tensor:
        groups = self._validation.groups(prompts, range(self._validation.items))
        made = self.work.each(part, prompts, groups, lambda items: self._validation.score(prompts, items))
        return torch.cat(made, dim=1)

    def _task(self, texts: Sequence[str], *, seed: int = _SEED) -> Restyle:
        return Restyle(
            lm=self.lm, texts=texts, template=self.template, content=self.content, style=self.style,
            samples=self.samples, stop=self.stop, seed=seed,
        )  # fmt: skip

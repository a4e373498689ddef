"""A classification task that is loaded: its reward, how its prompt is chosen and tested, and how it is used."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from hardprompt.data.files import csv_text
from hardprompt.data.markdown import block, code, plain
from hardprompt.data.tables import Example, Row
from hardprompt.lms import TaskLM
from hardprompt.lms.answers import Pooling
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.footprint import Footprint, Reading, footprint
from hardprompt.lms.masked import MaskedLM
from hardprompt.lms.placing import search_copy
from hardprompt.lms.tokens import say_controls
from hardprompt.lms.vocabulary import Tokens
from hardprompt.optimizers import Need
from hardprompt.optimizers.gradient.soft import SoftPrompts
from hardprompt.search.choice import choose
from hardprompt.search.engine import Trial
from hardprompt.search.forecast import Stages
from hardprompt.search.rewards import Cached
from hardprompt.search.work import TEST, Work
from hardprompt.search.writing import write_bytes, write_text
from hardprompt.tasks.classify.answers import notes
from hardprompt.tasks.classify.demonstrations import Demonstrations
from hardprompt.tasks.classify.grouped import ValidationAccuracy, grouped_probabilities, grouped_right
from hardprompt.tasks.classify.metrics import classification_metrics, never_predicted, paired_difference
from hardprompt.tasks.classify.prior import Calibration, check_shares, uneven
from hardprompt.tasks.classify.reward import Classification
from hardprompt.tasks.classify.stored import how_to, stored
from hardprompt.tasks.classify.table import PREDICTIONS
from hardprompt.tasks.classify.verdict import CLOSE, close, ensemble, said, shown_as
from hardprompt.tasks.classify.weighing import weighed
from hardprompt.tasks.protocol import SPLITS, Notify, Perplexity, written
from hardprompt.tasks.template import Template

_LOG = logging.getLogger(__name__)

_CHOSEN, _LEARNT = "chosen", "learnt"  # the best prompts, on validation and training texts once more
_OTHERS = 3  # of them beside the found one
_SOFT_FILE = "soft_prompt.safetensors"
_RESERVE = 64  # tokens that a prompt may have beside a long test text; one that has more keeps what it needs
_START_WORDS = 64  # of the text that the policy model imagines before a prompt


@dataclass(kw_only=True, eq=False)
class ClassifyTask:
    """A classification task with its texts and its task model.

    Raises:
        InputError: anything about texts, template, verbalizers or model.
    """

    lm: TaskLM  # the task model, in float32
    train: Sequence[Row]  # texts whose reward a search learns from
    validation: Sequence[Row]  # texts that choose the prompt
    test: Sequence[Row]  # texts touched once, at the end
    template: Template  # where text, prompt and answer stand
    verbalizers: Mapping[str, str]  # for each class the string that stands for it
    manual: str = "The sentiment is"  # the hand-written prompt to compare with
    instruction: str | None = None  # for the methods that begin with one
    how: Pooling = "sum"  # what an answer of several tokens counts
    precision: str = "auto"  # of the rewards that the search learns from; ``auto`` is half where that pays
    sharpness: float = 8.0  # of the reward; 1 is the paper, 8 is closer to accuracy
    calibrate: Calibration = "none"  # what is taken from the answers, prompt by prompt, by the training texts
    class_prior: Mapping[str, float] = field(default_factory=dict)  # of each class; none is as in the training texts
    ensemble: int = 1  # prompts whose mean is tested beside the found one
    leads: bool = False  # prompts stand before everything, the template holding the hand-written one
    model: str = "the task model"  # what the task model is called on the card
    left_out: Sequence[Row] = ()  # what stands in the files and is in none of the sets
    max_text_tokens: int | None = None  # of the task model, at which a text is cut; None is where its context ends
    notify: Notify = lambda _: None  # says how much memory it is going to take

    def __post_init__(self) -> None:
        written = self.template.joined(self.manual)
        self._template = Template(self.template.source, lead=written) if self.leads else self.template
        self._compared = "" if self.leads else written  # the hand-written prompt as one to be scored
        self.classes = list(self.verbalizers)
        if isinstance(self.lm, CausalLM | MaskedLM):  # others say nothing of their tokens
            said = notes(
                self.lm.tokenizer, self.verbalizers, self._template, how=self.how, blank=self.lm.blank,
                calibrate=self.calibrate,
            )  # fmt: skip
            for note in said:
                _LOG.warning(note)
            rows = [*self.train, *self.validation, *self.test]
            say_controls(
                self.lm.tokenizer, ((row.where or repr(row.text[:40]), row.text) for row in rows), but=self.lm.blank
            )
        self._soft = SoftPrompts()
        self._found, self._tested = "", list[list[float]]()
        self._trials: list[Trial] = []
        search_lm, self.precision = search_copy(self.lm, self.precision)
        check_shares(self.class_prior, self.classes, self.calibrate)
        if self.calibrate != "none" and not self.class_prior:
            for note in uneven(row.label for row in self.train):
                _LOG.warning(note)
        given = [self.class_prior[name] for name in self.classes] if self.class_prior else None
        self._prior = None if given is None else torch.tensor(given, dtype=torch.float64)
        self._train = self._classification(self.train, lm=search_lm, sharpness=self.sharpness, keep=False)
        # what chooses and what is reported has the precision of the model, and so has what is taken from it
        same = search_lm is self.lm or self.calibrate == "none"
        self._base = self._train if same else self._classification(self.train, keep=False)
        self._validation = self._classification(self.validation, sharpness=self.sharpness, keep=False, base=self._base)
        for task in (self._train, self._validation):
            task.check_room([self._compared])
        self.notify(str(needed := self._footprint()))
        needed.warn()
        self._train.hold()
        self.work = Work()
        self.reward = Cached(self._train, work=self.work)
        self.validate = ValidationAccuracy(self._validation, self.work)

    def give(self, need: Need, *, tokens: Tokens, script: str) -> Any:
        """What a person wrote, as the template needs it; examples to show; a loss with gradients, in float32."""
        if need is Need.EXAMPLES:
            rooms = [task.prompt_room for task in (self._train, self._validation)]
            return Demonstrations(
                [row.example for row in self.train], self._rendered,
                min(10**9 if room is None else room for room in rooms), self.lm.count,
            )  # fmt: skip
        if need is Need.OBJECTIVE:
            task = self._classification(self.train, keep=False)
            return task.objective(tokens=tokens, script=script)
        return self._template.joined(written(need, self.manual, self.instruction))

    def _classification(self, rows: Sequence[Row], *, lm: TaskLM | None = None, **settings: Any) -> Classification:
        return Classification(
            lm=self.lm if lm is None else lm, examples=[row.example for row in rows], template=self._template,
            verbalizers=self.verbalizers, how=self.how, soft=self._soft, longest=self.max_text_tokens,
            calibrate=self.calibrate, prior=self._prior, **settings,
        )  # fmt: skip

    def _footprint(self) -> Footprint:
        tested = [self.lm.count(row.text) for row in self.test]
        if self.lm.context_length is not None:
            tested = [min(count, self.lm.context_length) for count in tested]
        leads = self._template.before_prompt("a") != self._template.before_prompt("")  # a text, and can be held
        held = dict.fromkeys((self._train, self._base, self._validation))
        sets = [(task.lm, Reading(task.lengths(), leads, task.normalised)) for task in held]
        return footprint([*sets, (self.lm, Reading(tested, False, self._train.normalised))])

    def _rendered(self, example: Example) -> str:
        before, after = self.template.fill(example.text, self.template.joined(self.manual))
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
        return self._template.in_place([row.text for row in self.train], words=_START_WORDS)

    @property
    def stages(self) -> Stages:
        """A search whose texts are held, a test of texts that are not, in the precision of the model."""
        more = 0 if self.calibrate == "none" else len(self.train)  # scored with the others, to calibrate
        lm = self.lm
        if isinstance(lm, CausalLM):  # that holds no text, but what stands before each
            lm = lm.over(lm.model)
            lm.prepare([self._template.before_prompt("")])
        return Stages(
            self._train, fresh=self._classification(self.train, lm=lm, keep=False),
            validation=len(self.validation) + more, test=len(self.test) + more,
            tested=(2 if self.leads else 3) + CLOSE + self.ensemble - 1,
            lower=("--train-rows", "--validation-rows", "--test-rows"),
            free=isinstance(self.lm, CausalLM | MaskedLM),
        )  # fmt: skip

    def choose(self, trials: Sequence[Trial], perplexity: Perplexity) -> Trial:
        """The most natural of those that validation cannot tell from the best; the best of those that are no text."""
        self._trials = list(trials)
        if len(self._soft):
            return max(trials, key=lambda trial: trial.score)
        return choose(trials, len(self.validation), perplexity)

    def _contenders(self, prompt: str, written: Sequence[str], reserve: int) -> list[str]:
        """The found prompt, then those that did best in validation; none that would have texts cut shorter."""
        if prompt in self._soft:
            return [prompt]
        ranked = sorted(self._trials, key=lambda trial: -trial.score)
        others = [
            trial.prompt for trial in ranked
            if trial.prompt not in (prompt, *written) and self.lm.count(trial.prompt) <= reserve
        ]  # fmt: skip
        return [prompt, *list(dict.fromkeys(others))[: max(_OTHERS, 2 * self.ensemble)]]

    def shown(self, prompt: str) -> str:
        """As it is."""
        return prompt

    def report(self, prompt: str) -> dict[str, Any]:
        """The found prompt, the empty one and the manual one, side by side on the test texts, and which to use.

        What is recommended is settled before a test text is read.
        """
        self.validate.hold()  # as in a run that was not resumed: what is held decides what shares a batch
        reserve = max(_RESERVE, self.lm.count(prompt))
        others = {"manual": self._compared} if self.leads else {"empty": "", "manual": self._compared}
        shown = {"manual": self.manual} if self.leads else others  # there it is in the template
        found = self._contenders(prompt, list(others.values()), reserve)
        names = list(dict.fromkeys([*found, *others.values()]))
        chosen, _ = grouped_probabilities(self.work, _CHOSEN, self._validation, names)
        history = self.reward.complete()
        verdict = weighed(
            found, {name: text for name, text in others.items() if text not in found},
            grouped_right(self.work, _LEARNT, self._train, names), chosen.argmax(-1) == self._validation.labels,
            None if history is None else self._train.right(history),
        )  # fmt: skip
        members = ensemble(verdict, self.ensemble)
        if len(members) < self.ensemble != 1:
            _LOG.warning("an ensemble of %d was asked for; the search recommends %d prompts", self.ensemble, len(found))
        names = list(dict.fromkeys([prompt, *others.values(), *close(verdict), *members]))
        task = self._classification(self.test, keep=False, reserve=reserve, base=self._base)
        probabilities, taken_off = grouped_probabilities(self.work, TEST, task, names)
        labels = task.labels.numpy()
        predicted = dict(zip(names, probabilities.argmax(-1).numpy(), strict=True))
        self._found = prompt
        self._tested = probabilities[0].tolist()

        def tested(prompt: str) -> dict[str, Any]:
            return classification_metrics(labels, predicted[prompt], self.classes)

        def taken(prompt: str) -> dict[str, Any]:
            kept = stored(self.calibrate, taken_off, names.index(prompt), self.classes, len(self.train))
            return {"calibration": kept}

        averaged = None
        if members:
            mean = probabilities[[names.index(member) for member in members]].mean(0)
            test = classification_metrics(labels, mean.argmax(-1).numpy(), self.classes)
            averaged = {"prompts": members, "test": test}
        return {
            "template": self._template.shown,
            "readable": prompt not in self._soft,
            "verbalizers": dict(self.verbalizers),
            "never_predicted_in_validation": never_predicted(
                self._validation.labels.numpy(), chosen.argmax(-1).numpy()[0], self.classes
            ),
            "verdict": None if verdict is None else shown_as(verdict, shown, {name: tested(name) for name in names}),
            "ensemble": averaged,
            **taken(prompt),
            "test": tested(prompt),
            "difference_to_manual": paired_difference(labels, predicted[prompt], predicted[self._compared]),
            "baselines": [
                {"name": name, "prompt": shown[name], "test": tested(other), "evaluations": 0, **taken(other)}
                for name, other in others.items()
            ],
            "texts": {
                "train": len(self.train),
                "validation": len(self.validation),
                "test": len(self.test),
                "left_out": len(self.left_out),
                "truncated": self._train.truncated + self._validation.truncated + task.truncated,
            },
        }

    def card(self, result: Mapping[str, Any]) -> str:
        """The filled template and the words to compare."""
        test = result["test"]
        before, after = self._template.fill("{text}", result["prompt"])
        filled = f"{before}{{answer}}{after}" if after else before
        words = "\n".join(
            f"- {code(label)}: the model answers {code(word)}" for label, word in self.verbalizers.items()
        )
        low, high = test["interval"]
        how = (
            f"Give the model this, with your text in place of `{{text}}`:\n\n{block(filled)}\n\n"
            f"and compare the probabilities of these {'answers' if after else 'continuations'}:\n\n{words}\n\n"
        )
        if not result["readable"]:
            how = (
                f"`{_SOFT_FILE}` holds vectors that stand where the template has `{{prompt}}`:\n\n"
                f"{block(self._template.shown)}\n\nThey are no text: they cannot be read, pasted, or moved to another "
                f"model.\n\n"
            )
        if result["calibration"]:
            how += how_to(result["calibration"])
        never = "".join(
            f"It never predicted {where}: {', '.join(map(code, names))}.\n"
            for where, names in (
                ("there", test.get("never_predicted")), ("in validation", result["never_predicted_in_validation"]),
            ) if names
        )  # fmt: skip
        others = ", ".join(f"{row['name']} {row['test']['accuracy']:.3f}" for row in result["baselines"])
        verdict = f"{plain(said(result['verdict']))}\n\n" if result["verdict"] else ""
        return (
            f"# A prompt for {plain(self.model)}\n\n{verdict}{how}"
            f"Accuracy on {test['n']} texts that took no part: {test['accuracy']:.3f} "
            f"(95 % interval {low:.3f} to {high:.3f}), macro-F1 {test['macro_f1']:.3f}; "
            f"beside it {others}.\n{never}"
        )

    def write(self, out: Path) -> None:
        """What was predicted for each test text, which rows took which part, and a soft prompt if that was found."""
        rows = []
        for row, chances in zip(self.test, self._tested, strict=True):
            name = self.classes[max(range(len(chances)), key=chances.__getitem__)]
            rows.append([row.number, row.text, row.label, name, int(row.label == name), *(f"{p:.6f}" for p in chances)])
        head = ["line", "text", "label", "predicted", "right", *(f"P({name})" for name in self.classes)]
        write_text(out / PREDICTIONS, csv_text(head, rows))
        parts = {"train": self.train, "validation": self.validation, "test": self.test, "left out": self.left_out}
        used = ([part, row.file, row.number, row.label] for part, rows in parts.items() for row in rows)
        write_text(out / SPLITS, csv_text(["part", "file", "line", "label"], used))
        if self._found in self._soft:
            write_bytes(out / _SOFT_FILE, save({"prompt": self._soft[self._found]}))

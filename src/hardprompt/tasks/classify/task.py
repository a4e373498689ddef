"""`hardprompt classify`: a prompt for a text classifier, from labelled texts."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hardprompt.tasks import Command, Notify, column, fingerprint
from hardprompt.tasks.settings import DEFAULT_MODEL, Precision, Search, flag

if TYPE_CHECKING:
    import torch
    from rich.console import RenderableType

    from hardprompt.lms import TaskLM
    from hardprompt.lms.causal import CausalLM
    from hardprompt.search.engine import Trial
    from hardprompt.tasks.classify.reward import Classification, Example
    from hardprompt.tasks.classify.splits import Splits

PREDICTIONS = "predictions.csv"
_SOFT_FILE = "soft_prompt.safetensors"
_RESERVE = 64  # tokens that a prompt may have beside a long test text; one that has more keeps what it needs
_START_WORDS = 64  # of the text that the policy model imagines before a prompt


@dataclass(frozen=True, kw_only=True)
class Classify(Search):
    """The settings of a classification run.

    ``precision`` is of the rewards that the search learns from; ``auto`` is half where the device computes it natively
    and the task model is large enough to gain by it. Validation and test are always in float32. Where the judge's
    package is absent the policy model measures perplexity, and the result says so.
    """

    task: ClassVar[str] = "classify"
    data: ClassVar[tuple[str, ...]] = ("train", "validation", "test")

    train: str = flag("CSV, TSV, JSONL or Parquet file of labelled texts", positional=True)
    text: str = flag("column of the texts", metavar="COLUMN")
    label: str = flag("column of the classes", metavar="COLUMN")
    validation: str | None = flag("texts that choose the prompt (else a part of TRAIN)", default=None, metavar="FILE")
    test: str | None = flag("texts touched once, at the end (else a part of TRAIN)", default=None, metavar="FILE")
    group: str | None = flag("column whose rows stay in one split", default=None, metavar="COLUMN")
    data_seed: int | None = None  # of what is parted from TRAIN, where that is not the seed of all else
    shots: int | None = flag(
        "training texts of each class, drawn by the seed", default=None, metavar="N", low=1, high=1e9
    )
    verbalizers: Mapping[str, str] = flag(
        "the word that stands for a class", factory=dict, metavar="LABEL=WORD", name="verbalizer"
    )
    template: str = flag(
        "with {text} and {prompt}; {mask} for a masked model", default="{text}\n{prompt}", metavar="TEXT"
    )
    manual: str = flag("the hand-written prompt to compare with", default="The sentiment is", metavar="PROMPT")
    task_model: str = flag("model that is prompted", default=DEFAULT_MODEL, metavar="MODEL")
    precision: Precision = flag(
        "of the search's rewards: auto, float32, bfloat16, float16", default="auto", metavar="KIND"
    )
    sharpness: float = flag(
        "of the reward: 1 is the paper, 8 is closer to accuracy", default=8.0, metavar="X", low=1e-3, high=1e3
    )

    def check_task(self) -> None:
        """The template."""
        from hardprompt.tasks.template import Template

        Template(self.template)

    def local_models(self) -> list[str]:
        """And the one that is prompted."""
        return [*super().local_models(), self.task_model]

    def lacking(self, thing: str) -> str | None:
        """Nothing: texts, answers and a model that is at hand give all that a method may need."""
        return None if thing in ("examples", "objective") else super().lacking(thing)


class ValidationAccuracy:
    """Chooses by what will be reported: accuracy, and the mean probability gap only to part equals."""

    def __init__(self, task: "Classification") -> None:
        self.task = task

    def __call__(self, prompts: list[str]) -> "torch.Tensor":
        """Accuracy of each prompt, plus a hair of its reward."""
        self.task.hold()  # not when it is built: the first prompt need not wait for the validation texts
        probabilities = self.task.probabilities(prompts)
        accuracy = (probabilities.argmax(-1) == self.task.labels).double().mean(-1)
        # The reward lies within 200, so this never outweighs one text in a set of fewer than 10,000.
        return accuracy + self.task.rewards(probabilities) / 1e8


class ClassifyWork:
    """A classification task with its texts and its task model.

    Raises:
        InputError: anything about data, template, verbalizers or model.
    """

    def __init__(self, config: Classify, policy_lm: "CausalLM", notify: Notify) -> None:
        from hardprompt import optimizers
        from hardprompt.lms import load as models
        from hardprompt.lms.placing import search_copy
        from hardprompt.optimizers.gradient.objective import SoftPrompts
        from hardprompt.search.rewards import Cached
        from hardprompt.tasks.classify.reward import Classification
        from hardprompt.tasks.classify.splits import read_splits
        from hardprompt.tasks.template import Template

        self._config, self._template, self._written = config, Template(config.template), Template(config.template)
        self._leads = optimizers.find(config.method).leads
        if self._leads:
            written = self._template.joined(config.manual)
            self._template = Template(config.template, lead=written)
        self._soft = SoftPrompts()
        self._found, self._tested = "", list[str]()
        self.splits: Splits = read_splits(config)
        check_task(config, self.splits)
        self.verbalizers = default_verbalizers(self.splits.classes, config.verbalizers)
        self.task_lm: TaskLM = policy_lm
        if config.task_model != config.policy_model:
            notify(f"loading the task model {config.task_model}")
            self.task_lm = models.load_task_lm(config.task_model)
        search_lm, self.precision = search_copy(self.task_lm, config.precision)
        splits = self.splits
        notify(f"{len(splits.train)} training, {len(splits.validation)} validation and {len(splits.test)} test texts")
        self._train, validation = (
            Classification(
                lm=lm, examples=[r.example for r in rows], template=self._template, verbalizers=self.verbalizers,
                sharpness=config.sharpness, keep=keep, soft=self._soft,
            )
            for lm, rows, keep in ((search_lm, splits.train, True), (self.task_lm, splits.validation, False))
        )  # fmt: skip
        for task in (self._train, validation):
            task.check_room([self.manual])
        self.reward = Cached(self._train)
        self.validate = ValidationAccuracy(validation)
        self._policy_lm = policy_lm

    @property
    def manual(self) -> str:
        """The hand-written prompt, with the space that the template needs before it."""
        return "" if self._leads else self._template.joined(self._config.manual)

    def give(self, thing: str, config: Search) -> Any:
        """What a person wrote, as the template needs it; examples to show; a loss with gradients, in float32."""
        if thing == "examples":
            from hardprompt.tasks.classify.demonstrations import Demonstrations

            rooms = [task.prompt_room for task in (self._train, self.validate.task)]
            return Demonstrations(
                [row.example for row in self.splits.train], self._rendered,
                min(10**9 if room is None else room for room in rooms), self.task_lm.count,
            )  # fmt: skip
        if thing == "objective":
            from hardprompt.tasks.classify.reward import Classification

            task = Classification(
                lm=self.task_lm, examples=[row.example for row in self.splits.train], template=self._template,
                verbalizers=self.verbalizers, keep=False, soft=self._soft,
            )  # fmt: skip
            return task.objective(tokens=config.alphabet, script=config.script)
        return self._template.joined(config.written(thing) or "")

    def _rendered(self, example: "Example") -> str:
        before, after = self._written.fill(example.text, self._written.joined(self._config.manual))
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
        return self._template.in_place([row.text for row in self.splits.train], words=_START_WORDS)

    def choose(self, trials: "Sequence[Trial]") -> "Trial":
        """The most natural of those that validation cannot tell from the best; the best of those that are no text."""
        from hardprompt.runs.outcome import choose

        if len(self._soft):
            return max(trials, key=lambda trial: trial.score)
        return choose(trials, len(self.splits.validation), self._policy_lm.perplexity)

    def shown(self, prompt: str) -> str:
        """As it is."""
        return prompt

    def report(self, prompt: str) -> dict[str, Any]:
        """The found prompt, the empty one and the manual one, side by side on the test texts."""
        from hardprompt.tasks.classify.reward import Classification
        from hardprompt.tasks.metrics import classification_metrics, paired_difference

        self.validate.task.hold()  # as in a run that was not resumed: what is held decides what shares a batch
        rows = self.splits.test
        task = Classification(
            lm=self.task_lm, examples=[r.example for r in rows], template=self._template, verbalizers=self.verbalizers,
            keep=False, soft=self._soft, reserve=max(_RESERVE, self.task_lm.count(prompt)),
        )  # fmt: skip
        others = {"manual": ""} if self._leads else {"empty": "", "manual": self.manual}
        shown = {**others, **({"manual": self._config.manual} if self._leads else {})}  # there it is in the template
        names = list(dict.fromkeys([prompt, *others.values()]))
        predicted = dict(zip(names, task.predictions(names).numpy(), strict=True))
        labels = task.labels.numpy()
        self._found = prompt
        self._tested = [self.splits.classes[i] for i in predicted[prompt]]

        def tested(prompt: str) -> dict[str, Any]:
            return classification_metrics(labels, predicted[prompt], self.splits.classes)

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
                "train": len(self.splits.train),
                "validation": len(self.splits.validation),
                "test": len(rows),
                "truncated": self._train.truncated + self.validate.task.truncated + task.truncated,
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
            f"# A prompt for {self._config.task_model}\n\n{how}"
            f"Accuracy on {test['n']} texts that took no part: {test['accuracy']:.3f} "
            f"(95 % interval {low:.3f} to {high:.3f}), macro-F1 {test['macro_f1']:.3f}.\n"
        )

    def write(self, out: Path) -> None:
        """What was predicted for each test text; and a soft prompt, which ``result.json`` can only name."""
        from hardprompt.search.files import write_bytes, write_text

        stream = io.StringIO()
        writer = csv.writer(stream)
        writer.writerow(["text", "label", "predicted", "right"])
        for row, name in zip(self.splits.test, self._tested, strict=True):
            writer.writerow([row.text, row.label, name, int(row.label == name)])
        write_text(out / PREDICTIONS, stream.getvalue())
        if self._found in self._soft:
            from safetensors.torch import save

            write_bytes(out / _SOFT_FILE, save({"prompt": self._soft[self._found]}))


def default_verbalizers(names: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """The given verbalizers, and for other classes their own name as a word of its own."""
    return {name: given.get(name, f" {name}") for name in names}


def check_task(config: Classify, splits: "Splits") -> None:
    """Raise an InputError for faults of the task that need the data but no model: empty texts, verbalizers."""
    from hardprompt.tasks.classify.reward import check_examples

    verbalizers = default_verbalizers(splits.classes, config.verbalizers)
    for part in (splits.train, splits.validation, splits.test):
        check_examples([row.example for row in part], verbalizers)


def _plan(config: Classify) -> dict[str, Any]:
    from hardprompt.tasks.classify.splits import read_splits

    splits = read_splits(config)
    check_task(config, splits)
    return {
        "template": config.template,
        "verbalizers": default_verbalizers(splits.classes, config.verbalizers),
        "texts": {"train": len(splits.train), "validation": len(splits.validation), "test": len(splits.test)},
    }


def rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The found prompt and its baselines as rows of one table, the found one last."""
    found = {
        "name": result["method"],
        **{k: result[k] for k in ("prompt", "test", "perplexity", "evaluations", "seconds", "support_size")},
        "gradient_passes": result.get("gradient_passes", 0),  # older results have none
    }
    return [*result["baselines"], found]


def show(result: Mapping[str, Any]) -> "list[RenderableType]":
    """Every prompt with its accuracy; the found one class by class; its lead over the manual one."""
    from rich.markup import escape

    from hardprompt.cli.present import number, spent, table

    listing = table(
        f"Accuracy on {result['texts']['test']} test texts, perplexity under {result['perplexity_by']}",
        ("method", "prompt"),
        ("accuracy", "95 % interval", "macro-F1", "perplexity", "support", "evaluations", "seconds"),
    )
    for row in rows(result):
        low, high = row["test"]["interval"]
        listing.add_row(
            row["name"], escape(json.dumps(row["prompt"], ensure_ascii=False)), f"{row['test']['accuracy']:.3f}",
            f"{low:.3f} to {high:.3f}", f"{row['test']['macro_f1']:.3f}", number(row["perplexity"]),
            number(row.get("support_size")), spent(row), number(row.get("seconds")),
        )  # fmt: skip
    said = [escape(f"said {row['class']}") for row in result["test"]["classes"]]
    classes = table(
        "The found prompt, class by class", ("class",), ("precision", "recall", "F1", "texts", *said), fold=False
    )
    for row, counts in zip(result["test"]["classes"], result["test"]["confusion"], strict=True):
        classes.add_row(
            escape(row["class"]), f"{row['precision']:.3f}", f"{row['recall']:.3f}", f"{row['f1']:.3f}", str(row["n"]),
            *map(str, counts),
        )  # fmt: skip
    gain = result["difference_to_manual"]
    low, high = gain["interval"]
    shown: list[RenderableType] = [
        listing,
        classes,
        f"Against the manual prompt: {gain['accuracy']:+.3f} accuracy, paired 95 % interval {low:+.3f} to {high:+.3f}.",
    ]
    if not result.get("readable", True):
        shown.append("The found prompt is no text: it cannot be read, pasted, or moved to another model.")
    cut = result["texts"]["truncated"]
    return [*shown, f"{cut} texts were too long for the task model and were cut at their end."] if cut else shown


def _right(folder: Path) -> list[float]:
    """1 for each test text that was classified rightly, else 0."""
    return [float(right) for (right,) in column(folder / PREDICTIONS, "right")]


COMMAND = Command(
    summary="learn a prompt for a text classifier from labelled texts",
    settings=Classify,
    plan=_plan,
    load=ClassifyWork,
    headline=lambda test: float(test["accuracy"]),
    show=show,
    figure="accuracy",
    items=_right,
    tested=lambda folder: fingerprint(folder / PREDICTIONS),
)

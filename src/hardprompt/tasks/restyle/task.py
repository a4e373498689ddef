"""`hardprompt restyle`: a prompt that makes a model rewrite texts in another style, from examples of both."""

import csv
import io
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hardprompt.errors import InputError, MissingExtra
from hardprompt.tasks import Command, Notify, column, fingerprint
from hardprompt.tasks.restyle.texts import read
from hardprompt.tasks.settings import DEFAULT_MODEL, Search, flag

if TYPE_CHECKING:
    import torch
    from rich.console import RenderableType

    from hardprompt.lms.causal import CausalLM
    from hardprompt.search.engine import Trial
    from hardprompt.tasks.restyle.fluency import Fluency
    from hardprompt.tasks.restyle.reward import Output, Restyle
    from hardprompt.tasks.restyle.styles import StyleModel

_LOG = logging.getLogger(__name__)

_RLPROMPT = ("rlprompt", "rlprompt-fluency", "rlprompt-rb", "rlprompt-rb-fluency")
_REAL = 100  # sentences of each style whose median perplexity is the measure of fluency
_IMAGINED = 3  # texts of each kind that the policy model reads before it proposes,
_WORDS = 24  # so many words of each
_REMOTE = "openai:"
_SEED = 0  # validation and test draw the same random numbers whatever the run's seed: runs are then alike in them
_OUTPUTS = "outputs.csv"
_SHOWN = 5  # outputs in the tables and on the card


@dataclass(frozen=True, kw_only=True)
class StyleRun(Search):
    """The settings of a style transfer run.

    The target style is given by examples (a classifier is then trained: one for the reward, and one for the test that
    took no part in the search), by a model's name, or by a function of the user's.
    """

    task: ClassVar[str] = "restyle"
    # The papers' settings for this task (PIN App. C.1 and C.3), where they differ from those for classification.
    suggested: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "pin": {"alpha": 0.5},
        "pin-no-fluency": {"alpha": 0.5},
        **{name: {"alpha": 1 / 80, "sample_top": 50} for name in _RLPROMPT},
    }
    data: ClassVar[tuple[str, ...]] = (
        "texts", "validation", "test", "references", "source_examples", "target_examples",
    )  # fmt: skip

    texts: str = flag("texts to rewrite: one a line, or a table's column (--text)", positional=True)
    text: str | None = flag("column of the texts, in every table", default=None, metavar="COLUMN")
    target_examples: str | None = flag("examples of the target style", default=None, metavar="FILE")
    source_examples: str | None = flag("examples of the texts' own style (else TEXTS)", default=None, metavar="FILE")
    style_model: str | None = flag(
        "sequence-classification model that knows the target style, in place of examples", default=None, metavar="MODEL"
    )
    style_label: str | None = flag("its label of the target style", default=None, metavar="LABEL")
    style_function: str | None = flag(
        "function from a list of texts to probabilities of the target style, in place of examples",
        default=None,
        metavar="MODULE:NAME",
    )
    validation: str | None = flag("texts that choose the prompt (else a part of TEXTS)", default=None, metavar="FILE")
    test: str | None = flag("texts touched once, at the end (else a part of TEXTS)", default=None, metavar="FILE")
    references: str | None = flag(
        "human rewritings of the test file, line by line, for BLEU", default=None, metavar="FILE"
    )
    shots: int = flag("texts to train on, drawn by the seed", default=8, metavar="N", low=1, high=1e6)
    validate_on: int = flag("texts to validate on", default=24, metavar="N", low=1, high=1e6)
    test_on: int = flag("texts to test on", default=100, metavar="N", low=1, high=1e6)
    per_step: int | None = flag(
        "training texts of a step, drawn anew for each (else all)", default=None, metavar="N", low=1, high=1e6
    )
    zscore: bool = flag("normalise each text's scores over the prompts of a step, as RLPrompt does", default=False)
    samples: int = flag("rewritings of each text, of which the best counts", default=4, metavar="N", low=1, high=1000)
    template: str = flag(
        "with {text} and {prompt}; the rewriting follows", default='{prompt} "{text}" "', metavar="TEXT"
    )
    stop: str = flag("what ends a rewriting, beside the line's end (\")", default='"', metavar="TEXT")
    manual: str | None = flag("a hand-written prompt to compare with", default=None, metavar="PROMPT")
    task_model: str = flag("model that rewrites; openai:NAME with --base-url", default=DEFAULT_MODEL, metavar="MODEL")
    base_url: str | None = flag("of an OpenAI-compatible API that serves the task model", default=None, metavar="URL")
    embedder: str = flag(
        "model whose embeddings measure content and feed the classifier", default="embedded:minilm", metavar="MODEL"
    )
    acceptability_model: str | None = flag(
        "sequence-classification model of grammatical acceptability (else fluency is by perplexity)",
        default=None,
        metavar="MODEL",
    )
    acceptability_label: str | None = flag("its label of acceptable sentences", default=None, metavar="LABEL")
    evaluations: int = flag("budget in prompts scored", default=96, metavar="N", low=1, high=1e9)
    validate_every: int = flag("steps between validations", default=3, metavar="N", low=1, high=1e9)
    save_every: int = flag("steps between checkpoints", default=1, metavar="N", low=1, high=1e9)

    def lacking(self, thing: str) -> str | None:
        """Gradients, because the reward is of sampled texts; worked examples, because there are no pairs."""
        if thing == "objective":
            return "the reward of restyle is of texts that are sampled, which have no gradient"
        if thing == "examples":
            return "restyle has texts of two styles, and no pairs of them"
        return super().lacking(thing)

    def about(self) -> list[str]:
        """The file of texts."""
        return [Path(self.texts).stem]

    def check_task(self) -> None:
        """The template, and that the target style is given in one way."""
        from hardprompt.tasks.template import Template

        template = Template(self.template)
        if "{mask}" in template.source:
            raise InputError(f"template {template.source!r} has {{mask}}; a rewriting follows the template's end.")
        given = [n for n in ("target_examples", "style_model", "style_function") if getattr(self, n) is not None]
        if len(given) != 1:
            flags = ", ".join("--" + name.replace("_", "-") for name in given)
            raise InputError(
                "the target style is given by --target-examples FILE, --style-model MODEL or --style-function "
                f"MODULE:NAME: one of them, not {flags or 'none'}."
            )
        for model, label in (("style_model", "style_label"), ("acceptability_model", "acceptability_label")):
            if (getattr(self, model) is None) != (getattr(self, label) is None):
                one, other = (n.replace("_", "-") for n in ((model, label)))
                raise InputError(f"--{one} and --{other} belong together: give both or none.")
        if self.task_model.startswith(_REMOTE) != (self.base_url is not None):
            raise InputError(
                f"the task model is {self.task_model!r} and the base URL {self.base_url!r}: a model behind an API is "
                "--task-model openai:NAME with --base-url URL, any other has no base URL."
            )
        if self.base_url is not None and "@" in self.base_url:
            raise InputError(
                "the base URL has a user name or password in it, which would be written down; leave it out."
            )
        if self.references is not None and self.test is None:
            raise InputError("--references are line by line those of a test file; name it with --test.")
        if self.per_step is not None and self.per_step > self.shots:
            raise InputError(f"per_step is {self.per_step}; it cannot be more than the {self.shots} shots.")

    def local_models(self) -> list[str]:
        """And those that rewrite, embed and judge style and grammar, but for one behind an API."""
        named = (self.task_model, self.embedder, self.style_model, self.acceptability_model)
        return [*super().local_models(), *(name for name in named if name and not name.startswith(_REMOTE))]


class RestyleWork:
    """A style transfer task with its texts, its task model and what scores it.

    Raises:
        InputError: anything about data, template or models.
    """

    precision = "float32"  # what was measured: half precision pays for long sequences, and this goes token by token

    def __init__(self, config: StyleRun, policy_lm: "CausalLM", notify: Notify) -> None:
        from hardprompt.lms import load as models
        from hardprompt.lms.causal import CausalLM
        from hardprompt.lms.embedding import load_embedder
        from hardprompt.search.rewards import Cached
        from hardprompt.tasks.restyle.content import content
        from hardprompt.tasks.restyle.fluency import acceptability
        from hardprompt.tasks.restyle.reward import PerText
        from hardprompt.tasks.template import Template

        self._config, self._policy_lm, self._notify = config, policy_lm, notify
        self._template = Template(config.template)
        self.texts = read(config)
        self._lm: Any = policy_lm
        if config.base_url is not None:
            from hardprompt.lms.remote import RemoteLM

            self._lm = RemoteLM(config.task_model.removeprefix(_REMOTE), base_url=config.base_url)
        elif config.task_model != config.policy_model:
            notify(f"loading the task model {config.task_model}")
            self._lm = CausalLM(*models.load_causal(config.task_model))
        notify(f"loading the sentence model {config.embedder}")
        embedder = load_embedder(config.embedder)
        self._content = lambda sources, outputs: content(embedder, sources, outputs)
        self._style, self._test_style, self.classifier = self._styles(embedder)
        texts = self.texts
        notify(f"{len(texts.train)} training, {len(texts.validation)} validation and {len(texts.test)} test texts")
        self._acceptability = (
            None
            if config.acceptability_model is None
            else acceptability(config.acceptability_model, str(config.acceptability_label))
        )
        train = self._task(texts.train, seed=config.seed)
        for task in (train, self._task(texts.validation), self._task(texts.test)):
            task.check_room(self._lm.context_length, ["", *([] if self.manual is None else [self.manual])])
        self.reward: Any = (
            PerText(train, per_step=config.per_step or config.shots, zscore=config.zscore, seed=config.seed)
            if config.per_step or config.zscore
            else Cached(train)
        )
        self._validation = self._task(texts.validation)
        self._written: dict[str, list[Output]] = {}
        self._columns: dict[str, torch.Tensor] = {}

    def validate(self, prompts: list[str]) -> "torch.Tensor":
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
        return None if self._config.manual is None else self._template.joined(self._config.manual)

    def give(self, thing: str, config: Search) -> str:
        """What a person wrote, as the template needs it."""
        return self._template.joined(config.written(thing) or "")

    def choose(self, trials: "Sequence[Trial]") -> "Trial":
        """The most natural of those that validation cannot tell from the best.

        The standard error is that of the best one's mean over the validation texts.
        """
        from hardprompt.runs.outcome import most_natural

        top = max(trials, key=lambda trial: trial.score)
        (scores,) = self._validation.scores([top.prompt])
        error = float(scores.std()) / math.sqrt(len(scores)) if len(scores) > 1 else 0.0
        return most_natural(trials, error, self._policy_lm.perplexity)

    def shown(self, prompt: str) -> str:
        """As it is."""
        return prompt

    def report(self, prompt: str) -> dict[str, Any]:
        """The found prompt, the empty one, the manual one, and the copied input, side by side on the test texts."""
        import torch

        from hardprompt.tasks.restyle.metrics import bleu, joint, paired_joint, style_metrics
        from hardprompt.tasks.restyle.reward import score

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
        fluency = self._fluency()
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
            "template": self._config.template,
            "stop": self._config.stop,
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
            f"# A prompt for {self._config.task_model}\n\n"
            f"Give the model this, with your text in place of `{{text}}`:\n\n```\n{before}\n```\n\n"
            f"Of {self._config.samples} continuations, sampled among the 10 likeliest tokens and cut at the first "
            f"`{self._config.stop}` or line break, the one that scored best on content and style was kept.\n\n"
            f"On {test['n']} texts that took no part: J {test['j']:.3f} (95 % interval {low:.3f} to {high:.3f}), "
            f"content {test['content']:.3f}, style {test['style']:.3f}, fluency {test['fluency']:.3f}.\n\n"
            f"{examples}\n"
        )

    def write(self, out: Path) -> None:
        """The outputs on the test texts, and the trained classifiers."""
        from hardprompt.search.files import write_text

        stream = io.StringIO()
        writer = csv.writer(stream)
        references = self.texts.references
        writer.writerow(["text", *(["reference"] if references else []), *self._written, *self._columns])
        for i, text in enumerate(self.texts.test):
            writer.writerow([
                text, *([references[i]] if references else []), *(o[i].text for o in self._written.values()),
                *(f"{float(values[i]):.4f}" for values in self._columns.values()),
            ])  # fmt: skip
        write_text(out / _OUTPUTS, stream.getvalue())
        for name, style in (("style-reward", self._style), ("style-test", self._test_style)):
            if self.classifier is not None:
                style.save(out / f"{name}.safetensors")  # type: ignore[attr-defined]  # trained ones can

    def _task(self, texts: Sequence[str], *, seed: int = _SEED) -> "Restyle":
        from hardprompt.tasks.restyle.reward import Restyle

        return Restyle(
            lm=self._lm, texts=texts, template=self._template, content=self._content, style=self._style,
            samples=self._config.samples, stop=self._config.stop, seed=seed,
        )  # fmt: skip

    def _styles(self, embedder: Any) -> "tuple[StyleModel, StyleModel, dict[str, Any] | None]":
        """What the reward and what the test ask, and what is known of them if they were trained."""
        from hardprompt.tasks.restyle.styles import function_style, named_style, train_style

        config = self._config
        if config.style_model is not None:
            named = named_style(config.style_model, str(config.style_label))
            return named, named, None
        if config.style_function is not None:
            own = function_style(config.style_function)
            return own, own, None
        self._notify(
            f"training the style classifiers on {len(self.texts.source)} and {len(self.texts.target)} examples"
        )
        return train_style(embedder, self.texts.source, self.texts.target, seed=0)

    def _fluency(self) -> "Fluency":
        from hardprompt.lms import load as models
        from hardprompt.lms.causal import CausalLM
        from hardprompt.tasks.restyle.fluency import RelativePerplexity

        config = self._config
        if self._acceptability is not None:
            return self._acceptability
        try:
            name = config.judge
            judge = self._policy_lm if name == config.policy_model else CausalLM(*models.load_causal(name))
        except (MissingExtra, InputError) as error:  # the result of a search is not lost for want of a judge
            _LOG.warning("fluency is measured by the policy model instead: %s", error)
            judge, name = self._policy_lm, config.policy_model
        real = [*self.texts.source[:_REAL], *self.texts.target[:_REAL]]
        return RelativePerplexity(judge, real, name=name)


def _plan(config: StyleRun) -> dict[str, Any]:
    if config.style_function is not None:
        from hardprompt.tasks.restyle.styles import function_style

        function_style(config.style_function)
    texts = read(config)
    return {
        "template": config.template,
        "texts": {"train": len(texts.train), "validation": len(texts.validation), "test": len(texts.test)},
        "examples": {"source": len(texts.source), "target": len(texts.target)},
    }


def show(result: Mapping[str, Any]) -> "list[RenderableType]":
    """Every prompt with its metrics, a few outputs, and what is to be known of the scores."""
    from rich.markup import escape

    from hardprompt.cli.present import number, table

    scored = "bleu" in result["test"]
    listing = table(
        f"Style transfer on {result['texts']['test']} test texts, perplexity of the prompt under "
        f"{result['perplexity_by']}",
        ("method", "prompt"),
        ("J", "95 % interval", "GM", "content", "style", "fluency", *(["BLEU"] if scored else []), "perplexity",
         "evaluations", "seconds"),
    )  # fmt: skip
    found = {k: result[k] for k in ("prompt", "test", "perplexity", "evaluations", "seconds")}
    for row in (*result["baselines"], {"name": result["method"], **found}):
        test = row["test"]
        low, high = test["interval"]
        prompt = "-" if row["prompt"] is None else escape(json.dumps(row["prompt"], ensure_ascii=False))
        listing.add_row(
            row["name"], prompt, f"{test['j']:.3f}", f"{low:.3f} to {high:.3f}",
            *(f"{test[name]:.3f}" for name in ("gm", "content", "style", "fluency")),
            *([f"{test['bleu']:.1f}"] if scored else []), number(row["perplexity"]), str(row["evaluations"]),
            number(row.get("seconds")),
        )  # fmt: skip
    examples = table("The found prompt at work", ("text", "output"), ())
    for row in result["examples"]:
        examples.add_row(escape(row["text"]), escape(row["output"]))
    shown: list[RenderableType] = [listing, examples]
    if "difference_to_manual" in result:
        gain = result["difference_to_manual"]
        low, high = gain["interval"]
        shown.append(f"Against the manual prompt: J {gain['j']:+.3f}, paired 95 % interval {low:+.3f} to {high:+.3f}.")
    shown.append(f"Style by {result['style_by']}; fluency: {result['fluency_by']}")
    return shown


def _joint(folder: Path) -> list[float]:
    """Content times style times fluency of each rewritten test text."""
    rows = column(folder / _OUTPUTS, "content", "style", "fluency")
    return [math.prod(map(float, row)) for row in rows]


COMMAND = Command(
    summary="learn a prompt that makes a model rewrite texts in another style",
    settings=StyleRun,
    plan=_plan,
    load=RestyleWork,
    headline=lambda test: float(test["j"]),
    show=show,
    figure="J",
    items=_joint,
    tested=lambda folder: fingerprint(folder / _OUTPUTS),
)

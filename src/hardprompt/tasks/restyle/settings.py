"""The settings of `hardprompt restyle`: a prompt that makes a model rewrite texts in another style."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hardprompt.errors import InputError
from hardprompt.optimizers import Need
from hardprompt.search.plugins import load_object
from hardprompt.tasks.settings import CUT, DEFAULT_MODEL, ENCODING, MOST_TOKENS, Settings, flag

if TYPE_CHECKING:
    from hardprompt.lms.causal import CausalLM
    from hardprompt.lms.models import Models
    from hardprompt.tasks.protocol import Notify
    from hardprompt.tasks.restyle.fluency import Fluency
    from hardprompt.tasks.restyle.task import RestyleTask
    from hardprompt.tasks.restyle.texts import Texts

_RLPROMPT = ("rlprompt", "rlprompt-fluency", "rlprompt-rb", "rlprompt-rb-fluency")
_REMOTE = "openai:"


@dataclass(frozen=True, kw_only=True)
class StyleRun(Settings):
    """The settings of a style transfer run.

    The target style is given by examples (a classifier is then trained: one for the reward, and one for the test that
    took no part in the search), by a model's name, or by a function of the user's.
    """

    task: ClassVar[str] = "restyle"
    summary: ClassVar[str] = "learn a prompt that makes a model rewrite texts in another style"
    table: ClassVar[str] = "hardprompt.tasks.restyle.table:show"
    tested: ClassVar[str] = "hardprompt.tasks.restyle.table:items"
    figure: ClassVar[str] = "J"
    lacks: ClassVar[Mapping[Need, str]] = {
        Need.OBJECTIVE: "the reward of restyle is of texts that are sampled, which have no gradient",
        Need.EXAMPLES: "restyle has texts of two styles, and no pairs of them",
    }
    # The papers' settings for this task (PIN App. C.1 and C.3), where they differ from those for classification.
    suggested: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "pin": {"alpha": 0.5},
        "pin-no-fluency": {"alpha": 0.5},
        **{name: {"alpha": 1 / 80, "sample_top": 50} for name in _RLPROMPT},
    }

    texts: str = flag("texts to rewrite: one a line, or a table's column (--text)", positional=True, role="data")
    text: str | None = flag("column of the texts, in every table", default=None, metavar="COLUMN")
    target_examples: str | None = flag("examples of the target style", default=None, metavar="FILE", role="data")
    source_examples: str | None = flag(
        "examples of the texts' own style (else TEXTS)", default=None, metavar="FILE", role="data"
    )
    style_model: str | None = flag(
        "sequence-classification model that knows the target style, in place of examples", default=None,
        metavar="MODEL", role="classifier",
    )  # fmt: skip
    style_label: str | None = flag("its label of the target style", default=None, metavar="LABEL")
    style_function: str | None = flag(
        "function from a list of texts to probabilities of the target style, in place of examples", default=None,
        metavar="MODULE:NAME", role="code",
    )  # fmt: skip
    validation: str | None = flag(
        "texts that choose the prompt (else a part of TEXTS)", default=None, metavar="FILE", role="data"
    )
    test: str | None = flag(
        "texts touched once, at the end (else a part of TEXTS)", default=None, metavar="FILE", role="data"
    )
    references: str | None = flag(
        "human rewritings of the test file, line by line, for BLEU", default=None, metavar="FILE", role="data"
    )
    shots: int = flag("texts to train on, drawn by the seed", default=8, metavar="N", low=1, high=1e6)
    validation_rows: int = flag("texts to validate on at most", default=24, metavar="N", low=1, high=1e6)
    test_rows: int = flag("texts to test on at most", default=100, metavar="N", low=1, high=1e6)
    max_text_tokens: int = flag(CUT, default=MOST_TOKENS, metavar="N", low=1, high=1e9)
    encoding: str | None = flag(ENCODING, default=None, metavar="NAME")
    per_step: int | None = flag(
        "training texts of a step, drawn anew for each (else all)", default=None, metavar="N", low=1, high=1e6
    )
    zscore: bool = flag("normalise each text's scores over the prompts of a step, as RLPrompt does", default=False)
    samples: int = flag("rewritings of each text, of which the best counts", default=4, metavar="N", low=1, high=1000)
    template: str = flag(
        "with {text} and {prompt}; the rewriting follows",
        default='{prompt} "{text}" "',
        metavar="TEXT",
        escapes=True,
    )
    stop: str = flag("what ends a rewriting, beside the line's end (\")", default='"', metavar="TEXT")
    manual: str | None = flag("a hand-written prompt to compare with", default=None, metavar="PROMPT")
    task_model: str = flag(
        "model that rewrites; openai:NAME with --base-url", default=DEFAULT_MODEL, metavar="MODEL",
        role="causal model",
    )  # fmt: skip
    base_url: str | None = flag(
        "of an OpenAI-compatible API that serves the task model", default=None, metavar="URL", role="address"
    )
    embedder: str = flag(
        "model whose embeddings measure content and feed the classifier", default="embedded:minilm", metavar="MODEL",
        role="encoder",
    )  # fmt: skip
    acceptability_model: str | None = flag(
        "sequence-classification model of grammatical acceptability (else fluency is by perplexity)", default=None,
        metavar="MODEL", role="classifier",
    )  # fmt: skip
    acceptability_label: str | None = flag("its label of acceptable sentences", default=None, metavar="LABEL")
    evaluations: int = flag("budget in prompts scored", default=96, metavar="N", low=1, high=1e9)
    validate_every: int = flag("steps between validations", default=3, metavar="N", low=1, high=1e9)
    save_every: int = flag("steps between checkpoints", default=1, metavar="N", low=1, high=1e9)

    def about(self) -> list[str]:
        """The file of texts."""
        return [Path(self.texts).stem]

    def check_task(self) -> None:
        """The template and the encoding, and that the target style is given in one way."""
        from hardprompt.data.decoding import check_encoding
        from hardprompt.lms.api import check_plain
        from hardprompt.tasks.template import check_template

        if self.encoding is not None:
            check_encoding(self.encoding)
        template = check_template(self.template)
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
        if self.base_url is not None:
            check_plain(self.base_url)  # before anything is written, or said: it may hold a key
        if self.task_model.startswith(_REMOTE) != (self.base_url is not None):
            raise InputError(
                f"the task model is {self.task_model!r} and the base URL {self.base_url!r}: a model behind an API is "
                "--task-model openai:NAME with --base-url URL, any other has no base URL."
            )
        if self.references is not None and self.test is None:
            raise InputError("--references are line by line those of a test file; name it with --test.")
        if self.per_step is not None and self.per_step > self.shots:
            raise InputError(f"per_step is {self.per_step}; it cannot be more than the {self.shots} shots.")

    def models(self) -> dict[str, str]:
        """As every task has it: one behind an API is not run here."""
        return {setting: name for setting, name in super().models().items() if not name.startswith(_REMOTE)}

    def plan(self) -> dict[str, Any]:
        """The template and the sizes of the sets."""
        if self.style_function is not None:
            load_object("style function", self.style_function)
        texts = self._texts()
        return {
            "template": self.template,
            "texts": texts.sizes,
            "examples": {"source": len(texts.source), "target": len(texts.target)},
        }

    def load(self, models: "Models", policy_lm: "CausalLM", notify: "Notify") -> "RestyleTask":
        """The task with its texts, its task model and what scores it."""
        from hardprompt.tasks.judging import judge_of
        from hardprompt.tasks.restyle.content import content
        from hardprompt.tasks.restyle.fluency import acceptability, relative_perplexity
        from hardprompt.tasks.restyle.styles import named_style
        from hardprompt.tasks.restyle.task import RestyleTask
        from hardprompt.tasks.template import Template

        template = Template(self.template)
        texts = self._texts()
        lm: Any = policy_lm
        if self.base_url is not None:
            from hardprompt.lms.remote import RemoteLM

            lm = RemoteLM(self.task_model.removeprefix(_REMOTE), base_url=self.base_url)
        elif self.task_model != self.policy_model:
            notify(f"loading the task model {self.task_model}")
            lm = models.causal(self.task_model)
        notify(f"loading the sentence model {self.embedder}")
        embedder = models.embedder(self.embedder)
        style, test_style, classifier = self._styles(models, embedder, texts, notify)
        notify(f"{len(texts.train)} training, {len(texts.validation)} validation and {len(texts.test)} test texts")
        accepted = None
        if self.acceptability_model is not None:
            accepted = acceptability(
                named_style(
                    self.acceptability_model, str(self.acceptability_label),
                    revision=models.revisions.get(self.acceptability_model),
                )
            )  # fmt: skip

        def fluency(real: Sequence[str]) -> "Fluency":
            if accepted is not None:
                return accepted
            judge, name = judge_of(
                models, self.judge, policy_lm=policy_lm, policy_model=self.policy_model, what="fluency"
            )
            return relative_perplexity(judge.perplexity, real, name=name)

        return RestyleTask(
            lm=lm, texts=texts, template=template, content=lambda sources, outputs: content(embedder, sources, outputs),
            style=style, test_style=test_style, classifier=classifier, fluency=fluency, manual=self.manual,
            instruction=self.instruction, samples=self.samples, stop=self.stop, per_step=self.per_step,
            zscore=self.zscore, seed=self.seed, model=self.task_model, max_text_tokens=self.max_text_tokens,
            notify=notify,
        )  # fmt: skip

    def _texts(self) -> "Texts":
        from hardprompt.tasks.restyle.texts import read

        return read(
            texts=self.texts, column=self.text, validation=self.validation, test=self.test,
            references=self.references, source_examples=self.source_examples, target_examples=self.target_examples,
            encoding=self.encoding, shots=self.shots, validation_rows=self.validation_rows, test_rows=self.test_rows,
            seed=self.seed,
        )  # fmt: skip

    def _styles(self, models: "Models", embedder: Any, texts: "Texts", notify: "Notify") -> Any:
        """What the reward and what the test ask, and what is known of them if they were trained."""
        from hardprompt.tasks.restyle.styles import function_style, named_style, train_style

        if self.style_model is not None:
            revision = models.revisions.get(self.style_model)
            named = named_style(self.style_model, str(self.style_label), revision=revision)
            return named, named, None
        if self.style_function is not None:
            own = function_style(self.style_function)
            return own, own, None
        notify(f"training the style classifiers on {len(texts.source)} and {len(texts.target)} examples")
        return train_style(embedder, texts.source, texts.target, seed=0)

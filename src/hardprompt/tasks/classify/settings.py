"""The settings of `hardprompt classify`: a prompt for a text classifier, from labelled texts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hardprompt.errors import HardpromptError
from hardprompt.lms.answers import Pooling
from hardprompt.optimizers import Need, find
from hardprompt.tasks.classify.prior import Calibration, check_shares, uneven
from hardprompt.tasks.settings import CUT, DEFAULT_MODEL, ENCODING, MOST_TOKENS, Precision, Settings, flag

if TYPE_CHECKING:
    from hardprompt.lms.causal import CausalLM
    from hardprompt.lms.models import Models
    from hardprompt.tasks.classify.splits import Splits
    from hardprompt.tasks.classify.task import ClassifyTask
    from hardprompt.tasks.protocol import Notify


@dataclass(frozen=True, kw_only=True)
class Classify(Settings):
    """The settings of a classification run.

    ``precision`` is of the rewards that the search learns from; ``auto`` is half where the device computes it natively
    and the task model is large enough to gain by it. Validation and test are always in float32. Where the judge's
    package is absent the policy model measures perplexity, and the result says so.
    """

    task: ClassVar[str] = "classify"
    summary: ClassVar[str] = "learn a prompt for a text classifier from labelled texts"
    table: ClassVar[str] = "hardprompt.tasks.classify.table:show"
    tested: ClassVar[str] = "hardprompt.tasks.classify.table:items"
    figure: ClassVar[str] = "accuracy"

    train: str = flag("CSV, TSV, JSONL or Parquet file of labelled texts", positional=True, role="data")
    text: str = flag("column of the texts", metavar="COLUMN")
    label: str = flag("column of the classes", metavar="COLUMN")
    validation: str | None = flag(
        "texts that choose the prompt (else a part of TRAIN)", default=None, metavar="FILE", role="data"
    )
    test: str | None = flag(
        "texts touched once, at the end (else a part of TRAIN)", default=None, metavar="FILE", role="data"
    )
    group: str | None = flag("column whose rows stay in one split", default=None, metavar="COLUMN")
    data_seed: int | None = None  # of what is parted from TRAIN, where that is not the seed of all else
    shots: int | None = flag(
        "training texts of each class, drawn by the seed", default=None, metavar="N", low=1, high=1e9
    )
    train_rows: int = flag(
        "texts to train on at most, each class with its share; of --shots all",
        default=256,
        metavar="N",
        low=1,
        high=1e9,
    )
    validation_rows: int = flag("texts to validate on at most", default=500, metavar="N", low=1, high=1e9)
    test_rows: int = flag("texts to test on at most", default=4000, metavar="N", low=1, high=1e9)
    max_text_tokens: int = flag(CUT, default=MOST_TOKENS, metavar="N", low=1, high=1e9)
    encoding: str | None = flag(ENCODING, default=None, metavar="NAME")
    drop_small_classes: bool = flag(
        "leave out classes too small to be in every part of TRAIN, with --shots in training", default=False
    )
    verbalizers: Mapping[str, str] = flag(
        "the word that stands for a class, behind a space; LABEL==WORD is without one", factory=dict,
        metavar="LABEL=WORD", name="verbalizer",
    )  # fmt: skip
    score: Pooling = flag(
        "of an answer of several tokens: mean or sum of their log-probabilities, or the first", default="sum",
        metavar="KIND",
    )  # fmt: skip
    template: str = flag(
        "with {text} and {prompt}; {mask} for a masked model", default="{text}\n{prompt}", metavar="TEXT", escapes=True
    )
    manual: str = flag("the hand-written prompt to compare with", default="The sentiment is", metavar="PROMPT")
    task_model: str = flag("model that is prompted", default=DEFAULT_MODEL, metavar="MODEL", role="task model")
    precision: Precision = flag(
        "of the search's rewards: auto, float32, bfloat16, float16", default="auto", metavar="KIND"
    )
    sharpness: float = flag(
        "of the reward: 1 is the paper, 8 is closer to accuracy", default=8.0, metavar="X", low=1e-3, high=1e3
    )

    calibrate: Calibration = flag(
        "of the answers, by the training texts: batch takes what a prompt gives a class on all alike, affine fits scale"
        " and offset by the labels, none is the papers'", default="none", metavar="KIND",
    )  # fmt: skip
    class_prior: Mapping[str, float] = flag(
        "share of a class that calibration expects (else as in the training texts)", factory=dict, metavar="LABEL=P",
    )  # fmt: skip
    ensemble: int = flag(
        "prompts whose mean is tested beside the found one, at so many times its price", default=1, metavar="K", low=1,
        high=64,
    )  # fmt: skip

    def check_task(self) -> None:
        """The template and the encoding."""
        from hardprompt.data.decoding import check_encoding
        from hardprompt.tasks.template import check_template

        if self.encoding is not None:
            check_encoding(self.encoding)
        check_template(self.template)

    def plan(self) -> dict[str, Any]:
        """The template, the words and the sizes of the sets."""
        splits = self._splits()
        return {
            "template": self.template,
            "verbalizers": splits.verbalizers,
            "texts": {
                "train": len(splits.train), "validation": len(splits.validation), "test": len(splits.test),
                "left_out": len(splits.left_out),
            },
        }  # fmt: skip

    def check_kinds(self, kinds: Mapping[str, set[str]]) -> None:
        """Where the prompt stands, for a method that takes gradients."""
        from hardprompt.tasks.classify.answers import check_gradient
        from hardprompt.tasks.template import Template

        if Need.OBJECTIVE in find(self.method).needs:
            check_gradient(Template(self.template), causal=kinds["task_model"] == {"causal"})

    def notes(self) -> list[str]:
        """What there is to say of the answers, by the task model's kind and tokenizer; nothing of a user's own."""
        from hardprompt.lms.embedded import waits
        from hardprompt.lms.load import load_tokenizer, mask_of, read_config, resolve
        from hardprompt.lms.own import is_own
        from hardprompt.lms.roles import ROLES
        from hardprompt.tasks.classify.answers import notes
        from hardprompt.tasks.template import Template

        if is_own(self.task_model):
            return []
        if waits(self.task_model):
            return [f"the answers were not looked at: model {self.task_model!r} is converted when it is first loaded."]
        try:
            source = resolve(self.task_model, ROLES["task model"])
            config, tokenizer = read_config(source), load_tokenizer(source)
        except HardpromptError as error:  # a dry run needs no model
            return [f"the answers were not looked at: {error}"]
        blank, splits = mask_of(source, config, tokenizer) or "", self._splits()
        said = notes(
            tokenizer, splits.verbalizers, Template(self.template), how=self.score, blank=blank,
            calibrate=self.calibrate,
        )  # fmt: skip
        if self.calibrate != "none" and not self.class_prior:
            said += uneven(row.label for row in splits.train)
        return said

    def load(self, models: "Models", policy_lm: "CausalLM", notify: "Notify") -> "ClassifyTask":
        """The task with its texts and its task model."""
        from hardprompt.tasks.classify.task import ClassifyTask
        from hardprompt.tasks.template import Template

        splits = self._splits()
        task_lm: Any = policy_lm
        if self.task_model != self.policy_model:
            notify(f"loading the task model {self.task_model}")
            task_lm = models.task(self.task_model)
        notify(f"{len(splits.train)} training, {len(splits.validation)} validation and {len(splits.test)} test texts")
        return ClassifyTask(
            lm=task_lm, train=splits.train, validation=splits.validation, test=splits.test,
            template=Template(self.template), verbalizers=splits.verbalizers, manual=self.manual,
            instruction=self.instruction, precision=self.precision, sharpness=self.sharpness, how=self.score,
            calibrate=self.calibrate, class_prior=self._shares(splits), ensemble=self.ensemble,
            leads=find(self.method).leads, model=self.task_model, left_out=splits.left_out,
            max_text_tokens=self.max_text_tokens, notify=notify,
        )  # fmt: skip

    def _splits(self) -> "Splits":
        from hardprompt.tasks.classify.splits import read_splits

        found = read_splits(
            train=self.train, validation=self.validation, test=self.test, text=self.text, label=self.label,
            group=self.group, encoding=self.encoding, shots=self.shots, train_rows=self.train_rows,
            validation_rows=self.validation_rows, test_rows=self.test_rows,
            drop_small_classes=self.drop_small_classes, words=self.verbalizers,
            seed=self.seed, data_seed=self.seed if self.data_seed is None else self.data_seed,
        )  # fmt: skip
        check_shares(self._shares(found), list(found.verbalizers), self.calibrate)
        return found

    def _shares(self, splits: "Splits") -> dict[str, float]:
        from hardprompt.data.spelling import as_spelt

        return as_spelt(self.class_prior, splits.verbalizers, "the shares of")

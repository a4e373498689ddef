"""Pictures as a task that is loaded: the caption that a search finds, how it is compared, drawn and shown."""

import contextlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardprompt.data.markdown import block, code
from hardprompt.errors import InputError, MissingExtra
from hardprompt.lms.image_text import ImageText, check_length
from hardprompt.lms.image_text.conse import ConSE
from hardprompt.lms.vocabulary import Tokens
from hardprompt.optimizers import Need
from hardprompt.search.engine import Trial
from hardprompt.search.forecast import Stages
from hardprompt.search.rewards import Cached
from hardprompt.search.work import Work
from hardprompt.search.writing import write_bytes
from hardprompt.tasks.invert.drawing import draw
from hardprompt.tasks.invert.images import grid, png
from hardprompt.tasks.invert.reward import Inversion
from hardprompt.tasks.protocol import Notify, Perplexity, written

if TYPE_CHECKING:
    from PIL.Image import Image

_LOG = logging.getLogger(__name__)

_CLASSES = 2  # of several pictures that the classifier's caption names


@dataclass(kw_only=True, eq=False)
class InvertTask:
    """Pictures, embedded, and the model that compares them with texts.

    Raises:
        InputError: as ``Inversion``; or a manual prompt that the model cannot read.
    """

    validate = None  # nothing is held back: the score of a text beside a picture is exact
    precision = "float32"
    leads = False
    start, spaced = "A photo of", True

    model: ImageText
    images: "Sequence[Image]"
    paths: Sequence[str]  # where the pictures are, for the result
    before: str = ""  # how the prompt begins; it is part of it
    require: Sequence[str] = ()  # words that the prompt must have
    forbid: Sequence[str] = ()  # words that it must not have
    manual: str | None = None  # a hand-written prompt to compare with
    instruction: str | None = None  # for the methods that begin with one
    draw: str | None = None  # diffusers model that draws pictures from the prompts
    revision: str | None = None  # its commit, if it is on the hub; None is the newest
    seed: int = 0  # of the drawing
    name: str = ""  # of the model, for the result
    notify: Notify = lambda _: None  # says what is being waited for

    def __post_init__(self) -> None:
        self.name = self.name or self.model.name
        self._task = Inversion(
            model=self.model, images=self.images, before=self.before, require=self.require, forbid=self.forbid
        )
        if self.manual is not None:
            check_length(self.model, self.manual, self.model.count(self.manual))
        self.work = Work()
        self.reward = Cached(self._task, work=self.work)
        self._drawn: dict[str, Image] = {}
        self._caption = ""

    def give(self, need: Need, *, tokens: Tokens, script: str) -> Any:
        """What a person wrote; a loss with gradients."""
        if need is Need.OBJECTIVE:
            return self._task.objective(tokens=tokens, script=script)
        return self._task.prompt_of(written(need, self.manual, self.instruction))

    @property
    def stages(self) -> Stages:
        """A search, and captions that are compared in a moment."""
        return Stages(self._task)

    def choose(self, trials: Sequence[Trial], perplexity: Perplexity) -> Trial:  # noqa: ARG002
        """The one of the highest score, the earliest among equals.

        Raises:
            InputError: every prompt has a forbidden word.
        """
        best = max(trials, key=lambda trial: trial.score)
        if not self._task.allowed(best.prompt):
            raise InputError(
                "every prompt that was found has a forbidden word or is longer than the "
                f"{self.model.text_limit} tokens that the image model reads; forbid or require less, or shorten it "
                "with --length."
            )
        return best

    def shown(self, prompt: str) -> str:
        """The whole caption."""
        return self._task.complete(prompt)

    def report(self, prompt: str) -> dict[str, Any]:
        """The caption of the found prompt, the manual one and that of a classifier."""
        self._caption = caption = self._task.complete(prompt)
        others = {} if self.manual is None else {"manual": self.manual}
        with contextlib.suppress(MissingExtra):  # the classifier is a baseline only
            classifier = self.model if isinstance(self.model, ConSE) else ConSE()
            found = Counter(classifier.top_class(image) for image in self.images).most_common(_CLASSES)
            top = f"a photo of {' and '.join(name for name, _ in found)}"
            if self.model.count(top) <= self.model.text_limit:
                others["top class"] = top
        plain = Inversion(model=self.model, images=self.images)  # theirs are whole captions already
        rows = dict.fromkeys([caption, *others.values()])
        scores = {text: row.tolist() for text, row in zip(rows, plain.scores(list(rows)), strict=True)}

        def tested(text: str) -> dict[str, Any]:
            return {"n": len(self.images), "cosine": sum(scores[text]) / len(scores[text]), "each": scores[text]}

        if self.draw is not None:
            self.notify(f"drawing {len(rows)} pictures with {self.draw}")
            try:
                drawn = draw(list(rows), model=self.draw, seed=self.seed, revision=self.revision)
                self._drawn = dict(zip(rows, drawn, strict=True))
            except InputError as error:  # the result of a search is not lost for want of a drawing
                _LOG.warning("nothing is drawn: %s", error)
        return {
            "images": [str(Path(path).resolve()) for path in self.paths],
            "image_model": self.name,
            "stand_in": self.model.stand_in,
            "test": tested(caption),
            "baselines": [
                {"name": name, "prompt": text, "test": tested(text), "evaluations": 0} for name, text in others.items()
            ],
        }

    def card(self, result: Mapping[str, Any]) -> str:
        """The prompt, its score, and what the score is worth."""
        names = ", ".join(code(Path(path).name) for path in self.paths)
        worth = f"\n{self.model.stand_in}\n" if self.model.stand_in else ""
        drawn = "\n`pictures/` has what a diffusion model drew from it.\n" if self._drawn else ""
        return (
            f"# A prompt for {names}\n\n{block(result['prompt'])}\n\n"
            f"Its cosine with the picture{'s' if len(self.images) > 1 else ''} under {code(self.name)} is "
            f"{result['test']['cosine']:.3f}.\n{worth}{drawn}\n![the pictures and their prompts](grid.png)\n"
        )

    def write(self, out: Path) -> None:
        """The pictures with their prompt below, and what was drawn from the prompts."""
        rows = [[(image, self._caption) for image in self.images]]
        if self._drawn:
            (out / "pictures").mkdir(exist_ok=True)
            rows.append([(image, f"drawn from: {text}") for text, image in self._drawn.items()])
            for number, image in enumerate(self._drawn.values()):
                write_bytes(out / "pictures" / f"{number}.png", png(image))
        write_bytes(out / "grid.png", png(grid(rows)))

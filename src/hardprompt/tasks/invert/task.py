"""`hardprompt invert`: a prompt from a picture, from several pictures, or one from each picture of a folder."""

import contextlib
import dataclasses
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hardprompt.errors import InputError, MissingExtra
from hardprompt.tasks import Command, Notify
from hardprompt.tasks.settings import Search, flag

if TYPE_CHECKING:
    from PIL.Image import Image
    from rich.console import RenderableType

    from hardprompt.lms.causal import CausalLM
    from hardprompt.search.engine import Trial

_LOG = logging.getLogger(__name__)

# The papers' settings for this task (PIN App. D.1 and D.3), where they differ from those for classification.
_K = 20_000
_CLASSES = 2  # of several pictures that the classifier's caption names
_SUGGESTED: dict[str, dict[str, Any]] = {
    "pin": {"top_k": _K},
    "pin-prior": {"top_k": _K},
    "rlprompt": {"alpha": 1 / 80},
    "rlprompt-fluency": {"alpha": 1 / 80},
    "rlprompt-rb": {"alpha": 1 / 20},
    "rlprompt-rb-fluency": {"alpha": 1 / 20, "top_k": 256},
}


@dataclass(frozen=True, kw_only=True)
class Invert(Search):
    """The settings of a run that looks for the text of pictures."""

    task: ClassVar[str] = "invert"
    suggested: ClassVar[Mapping[str, Mapping[str, Any]]] = _SUGGESTED

    images: tuple[str, ...] = flag(
        "a picture; several, which get one common prompt; or a folder, where each gets its own",
        positional=True,
        metavar="IMAGE",
    )
    image_model: str = flag(
        "CLIP or SigLIP model by hub name or folder, or embedded:conse, a weak stand-in",
        default="embedded:conse",
        metavar="MODEL",
    )
    start: str | None = flag(
        'how the prompt begins, such as "a photo of"; it is part of the prompt', default=None, metavar="TEXT"
    )
    require: tuple[str, ...] = flag(
        "a word that the prompt must have, appended where it lacks", default=(), metavar="WORD"
    )
    forbid: tuple[str, ...] = flag("a word that the prompt must not have", default=(), metavar="WORD")
    manual: str | None = flag("a hand-written prompt to compare with", default=None, metavar="PROMPT")
    draw: str | None = flag(
        "diffusers model that draws pictures from the prompts, to be laid beside the target",
        default=None,
        metavar="MODEL",
    )
    length: int = flag("tokens of the prompt", default=8, metavar="L", low=1, high=32)
    evaluations: int = flag("budget in prompts scored", default=960, metavar="N", low=1, high=1e9)
    validate_every: int = flag("steps between looks at the best prompts", default=6, metavar="N", low=1, high=1e9)
    save_every: int = flag("steps between checkpoints", default=10, metavar="N", low=1, high=1e9)

    def check_task(self) -> None:
        """A folder stands alone, and no word is both required and forbidden."""
        from hardprompt.tasks.invert.reward import check_words

        check_words(self.start or "", self.require, self.forbid)
        if len(self.images) > 1:
            for path in self.images:
                if Path(path).is_dir():
                    raise InputError(f"{path!r} is a folder; name one folder alone, or pictures.")

    def files(self) -> list[str]:
        """Every picture."""
        if len(self.images) == 1 and Path(self.images[0]).is_dir():
            from hardprompt.tasks.invert.images import image_files

            return [str(path) for path in image_files(self.images[0])]
        return list(self.images)

    def lacking(self, thing: str) -> str | None:
        """Worked examples."""
        if thing == "examples":
            return "a picture has no examples"
        return None if thing == "objective" else super().lacking(thing)

    def about(self) -> list[str]:
        """The first picture: many are tried one after the other."""
        return [Path(self.images[0]).stem]


class InvertWork:
    """The pictures, embedded, and the model that compares them with texts."""

    validate = None  # nothing is held back: the score of a text beside a picture is exact
    precision = "float32"

    def __init__(self, config: Invert, _policy_lm: "CausalLM", notify: Notify) -> None:
        from hardprompt.lms.image_text import check_length, load_image_text
        from hardprompt.search.rewards import Cached
        from hardprompt.tasks.invert.reward import Inversion

        self._config, self._notify = config, notify
        self._images = _read(config)
        notify(f"loading the image model {config.image_model}")
        self._model = load_image_text(config.image_model)
        if self._model.stand_in is not None:
            notify(self._model.stand_in)
        self._task = Inversion(
            model=self._model, images=self._images, before=config.start or "", require=config.require,
            forbid=config.forbid,
        )  # fmt: skip
        if config.manual is not None:
            check_length(self._model, config.manual, self._model.count(config.manual))
        self.reward = Cached(self._task)
        self._drawn: dict[str, Image] = {}
        self._caption = ""

    def give(self, thing: str, config: Search) -> Any:
        """What a person wrote; a loss with gradients."""
        if thing == "objective":
            return self._task.objective(tokens=config.alphabet, script=config.script)
        # a caption has its beginning whether a person wrote it or not
        before = " ".join((config.start or "").split())
        return " ".join((config.written(thing) or "").split()).removeprefix(before)

    start = "A photo of"

    @property
    def spaced(self) -> bool:
        """A prompt follows words."""
        return True

    def choose(self, trials: "Sequence[Trial]") -> "Trial":
        """The one of the highest score, the earliest among equals.

        Raises:
            InputError: every prompt has a forbidden word.
        """
        best = max(trials, key=lambda trial: trial.score)
        if not self._task.allowed(best.prompt):
            raise InputError(
                "every prompt that was found has a forbidden word or is longer than the "
                f"{self._model.text_limit} tokens that the image model reads; forbid or require less, or shorten it "
                "with --length."
            )
        return best

    def shown(self, prompt: str) -> str:
        """The whole caption."""
        return self._task.complete(prompt)

    def report(self, prompt: str) -> dict[str, Any]:
        """The caption of the found prompt, the manual one and that of a classifier."""
        from hardprompt.tasks.invert.reward import Inversion

        self._caption = caption = self._task.complete(prompt)
        others = {} if self._config.manual is None else {"manual": self._config.manual}
        with contextlib.suppress(MissingExtra):  # the classifier is a baseline only
            top = f"a photo of {_top_classes(self._model, self._images)}"
            if self._model.count(top) <= self._model.text_limit:
                others["top class"] = top
        plain = Inversion(model=self._model, images=self._images)  # theirs are whole captions already
        rows = dict.fromkeys([caption, *others.values()])
        scores = {text: row.tolist() for text, row in zip(rows, plain.scores(list(rows)), strict=True)}

        def tested(text: str) -> dict[str, Any]:
            return {"n": len(self._images), "cosine": sum(scores[text]) / len(scores[text]), "each": scores[text]}

        if self._config.draw is not None:
            from hardprompt.tasks.invert.drawing import draw

            self._notify(f"drawing {len(rows)} pictures with {self._config.draw}")
            try:
                drawn = draw(list(rows), model=self._config.draw, seed=self._config.seed)
                self._drawn = dict(zip(rows, drawn, strict=True))
            except InputError as error:  # the result of a search is not lost for want of a drawing
                _LOG.warning("nothing is drawn: %s", error)
        return {
            "images": [str(Path(path).resolve()) for path in self._config.images],
            "image_model": self._config.image_model,
            "stand_in": self._model.stand_in,
            "test": tested(caption),
            "baselines": [
                {"name": name, "prompt": text, "test": tested(text), "evaluations": 0} for name, text in others.items()
            ],
        }

    def card(self, result: Mapping[str, Any]) -> str:
        """The prompt, its score, and what the score is worth."""
        names = ", ".join(f"`{Path(path).name}`" for path in self._config.images)
        worth = f"\n{self._model.stand_in}\n" if self._model.stand_in else ""
        drawn = "\n`pictures/` has what a diffusion model drew from it.\n" if self._drawn else ""
        return (
            f"# A prompt for {names}\n\n```\n{result['prompt']}\n```\n\n"
            f"Its cosine with the picture{'s' if len(self._images) > 1 else ''} under `{self._config.image_model}` is "
            f"{result['test']['cosine']:.3f}.\n{worth}{drawn}\n![the pictures and their prompts](grid.png)\n"
        )

    def write(self, out: Path) -> None:
        """The pictures with their prompt below, and what was drawn from the prompts."""
        from hardprompt.search.files import write_bytes
        from hardprompt.tasks.invert.images import grid, png

        rows = [[(image, self._caption) for image in self._images]]
        if self._drawn:
            (out / "pictures").mkdir(exist_ok=True)
            rows.append([(image, f"drawn from: {text}") for text, image in self._drawn.items()])
            for number, image in enumerate(self._drawn.values()):
                write_bytes(out / "pictures" / f"{number}.png", png(image))
        write_bytes(out / "grid.png", png(grid(rows)))


def _read(config: Invert) -> "list[Image]":
    from hardprompt.tasks.invert.images import read_image

    return [read_image(path) for path in config.images]


def _top_classes(model: Any, images: "Sequence[Image]") -> str:
    from hardprompt.lms.image_text.conse import ConSE

    classifier = model if isinstance(model, ConSE) else ConSE()
    found = Counter(classifier.top_class(image) for image in images)
    return " and ".join(name for name, _ in found.most_common(_CLASSES))


def parts(config: Invert, out: Path) -> list[tuple[Invert, Path]]:
    """One run for pictures; one for each picture of a folder, in a folder of its own."""
    if not Path(config.images[0]).is_dir():
        return [(config, out)]
    files = [Path(path) for path in config.files()]
    stems = [file.stem for file in files]
    short = len(set(stems)) == len(stems) and not {"run.yaml", "result.json", "README.md"} & set(stems)
    names = stems if short else [file.name for file in files]
    return [
        (dataclasses.replace(config, images=(str(file),)), out / name) for file, name in zip(files, names, strict=True)
    ]


def _plan(config: Invert) -> dict[str, Any]:
    from hardprompt.tasks.invert.images import read_image

    if config.draw is not None:
        from hardprompt.tasks.invert.drawing import check_installed

        check_installed()  # before minutes are spent on a search
    for path in config.files():  # each is read before any is searched for
        read_image(path)
    return {"images": config.files(), "image_model": config.image_model, "runs": len(parts(config, Path()))}


def show(result: Mapping[str, Any]) -> "list[RenderableType]":
    """Every prompt with its score, of one run or of several."""
    from rich.markup import escape

    from hardprompt.cli.present import number, spent, table

    runs = result.get("runs", [result])
    model, judge = runs[0]["image_model"], runs[0]["perplexity_by"]
    listing = table(
        f"Cosine of picture and text under {model}, perplexity under {judge}",
        (*(["picture"] if len(runs) > 1 else []), "method", "prompt"),
        ("cosine", "perplexity", "support", "evaluations", "seconds"),
    )
    for run in runs:
        found = {k: run[k] for k in ("prompt", "test", "perplexity", "evaluations")}
        passes = run.get("gradient_passes", 0)  # older results have none
        for row in (*run["baselines"], {"name": run["method"], "gradient_passes": passes, **found}):
            own = row["name"] == run["method"]
            listing.add_row(
                *([escape(run["folder"])] if len(runs) > 1 else []), row["name"],
                escape(json.dumps(row["prompt"], ensure_ascii=False)), f"{row['test']['cosine']:.3f}",
                number(row["perplexity"]), number(run["support_size"]) if own else "-", spent(row),
                number(run["seconds"]) if own else "-",
            )  # fmt: skip
    return [listing, *([runs[0]["stand_in"]] if runs[0]["stand_in"] else [])]


COMMAND = Command(
    summary="learn a prompt from a picture",
    settings=Invert,
    plan=_plan,
    load=InvertWork,
    headline=lambda test: float(test["cosine"]),
    show=show,
    figure="cosine",
    parts=parts,
)

"""The settings of `hardprompt invert`: a prompt from a picture, from several, or one from each picture of a folder."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from hardprompt.errors import InputError
from hardprompt.optimizers import Need
from hardprompt.tasks.settings import Settings, flag

if TYPE_CHECKING:
    from hardprompt.lms.causal import CausalLM
    from hardprompt.lms.models import Models
    from hardprompt.tasks.invert.task import InvertTask
    from hardprompt.tasks.protocol import Notify

# The papers' settings for this task (PIN App. D.1 and D.3), where they differ from those for classification.
_K = 20_000
_SUGGESTED: dict[str, dict[str, Any]] = {
    "pin": {"top_k": _K},
    "pin-prior": {"top_k": _K},
    "rlprompt": {"alpha": 1 / 80},
    "rlprompt-fluency": {"alpha": 1 / 80},
    "rlprompt-rb": {"alpha": 1 / 20},
    "rlprompt-rb-fluency": {"alpha": 1 / 20, "top_k": 256},
}


@dataclass(frozen=True, kw_only=True)
class Invert(Settings):
    """The settings of a run that looks for the text of pictures."""

    task: ClassVar[str] = "invert"
    summary: ClassVar[str] = "learn a prompt from a picture"
    table: ClassVar[str] = "hardprompt.tasks.invert.table:show"
    figure: ClassVar[str] = "cosine"
    suggested: ClassVar[Mapping[str, Mapping[str, Any]]] = _SUGGESTED
    lacks: ClassVar[Mapping[Need, str]] = {Need.EXAMPLES: "a picture has no examples"}

    images: tuple[str, ...] = flag(
        "a picture; several, which get one common prompt; or a folder, where each gets its own", positional=True,
        metavar="IMAGE", role="data",
    )  # fmt: skip
    image_model: str = flag(
        "CLIP or SigLIP model by hub name or folder, or embedded:conse, a weak stand-in", default="embedded:conse",
        metavar="MODEL", role="image model",
    )  # fmt: skip
    start: str | None = flag(
        'how the prompt begins, such as "a photo of"; it is part of the prompt', default=None, metavar="TEXT"
    )
    require: tuple[str, ...] = flag(
        "a word that the prompt must have, appended where it lacks", default=(), metavar="WORD"
    )
    forbid: tuple[str, ...] = flag("a word that the prompt must not have", default=(), metavar="WORD")
    manual: str | None = flag("a hand-written prompt to compare with", default=None, metavar="PROMPT")
    draw: str | None = flag(
        "diffusers model that draws pictures from the prompts, to be laid beside the target", default=None,
        metavar="MODEL", role="pipeline",
    )  # fmt: skip
    length: int = flag("tokens of the prompt", default=8, metavar="L", low=1, high=32)
    evaluations: int = flag("budget in prompts scored", default=960, metavar="N", low=1, high=1e9)
    validate_every: int = flag("steps between looks at the best prompts", default=6, metavar="N", low=1, high=1e9)
    save_every: int = flag("steps between checkpoints", default=10, metavar="N", low=1, high=1e9)

    def check_task(self) -> None:
        """A folder stands alone, and no word is both required and forbidden."""
        from hardprompt.tasks.invert.words import check_words

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

    def about(self) -> list[str]:
        """The first picture: many are tried one after the other."""
        return [Path(self.images[0]).stem]

    def parts(self, out: Path) -> list[tuple[Self, Path]]:
        """One run for pictures; one for each picture of a folder, in a folder of its own."""
        if not Path(self.images[0]).is_dir():
            return [(self, out)]
        files = [Path(path) for path in self.files()]
        stems = [file.stem for file in files]
        short = len(set(stems)) == len(stems) and not {*stems} & {"run.yaml", "result.json", "README.md", ".", ".."}
        return [
            (dataclasses.replace(self, images=(str(file),)), out / (file.stem if short else file.name))
            for file in files
        ]

    def plan(self) -> dict[str, Any]:
        """The pictures, each read before any is searched for."""
        from hardprompt.tasks.invert.images import read_image

        if self.draw is not None:
            from hardprompt.tasks.invert.drawing import check_installed

            check_installed()  # before minutes are spent on a search
        for path in self.files():
            read_image(path)
        return {"images": self.files(), "image_model": self.image_model, "runs": len(self.parts(Path()))}

    def load(self, models: "Models", policy_lm: "CausalLM", notify: "Notify") -> "InvertTask":  # noqa: ARG002
        """The pictures, embedded, and the model that compares them with texts."""
        from hardprompt.tasks.invert.images import read_image
        from hardprompt.tasks.invert.task import InvertTask

        images = [read_image(path) for path in self.images]
        notify(f"loading the image model {self.image_model}")
        model = models.image_text(self.image_model)
        if model.stand_in is not None:
            notify(model.stand_in)
        return InvertTask(
            model=model, images=images, paths=self.images, before=self.start or "", require=self.require,
            forbid=self.forbid, manual=self.manual, instruction=self.instruction, draw=self.draw,
            revision=models.revisions.get(self.draw or ""), seed=self.seed, name=self.image_model, notify=notify,
        )  # fmt: skip

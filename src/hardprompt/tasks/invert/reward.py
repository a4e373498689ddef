"""From pictures to a prompt: a prompt is good when its text lies near the pictures in an image–text model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import InitVar, dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.lms.image_text import ImageText, check_length
from hardprompt.lms.tokens import letter, special_ids
from hardprompt.lms.vectors import substituted, token_vectors
from hardprompt.lms.vocabulary import Place, Tokens, allowed_tokens, begins_with_space, first_tokens
from hardprompt.optimizers.gradient.soft import SoftPrompts
from hardprompt.tasks.invert.words import check_words, occurs

if TYPE_CHECKING:
    from PIL.Image import Image

_PENALTY = 2.0  # as wide as cosines spread, so that no cosine makes up for a forbidden word
_CLINGS = (",", ".", ";", ":", "!", "?")  # at a prompt's beginning they need no space before them


@dataclass(kw_only=True, eq=False)
class Inversion:
    """The paper's reward for one picture, or for several that one prompt shall describe.

    Words are whole words, or several in a row, in any case.

    Raises:
        InputError: no picture, an empty word, a forbidden word in ``before`` or in a required word, or a beginning that
            leaves the model no room for a prompt.

    Source: PIN App. D.2.
    """

    model: ImageText
    images: InitVar[Sequence[Image]]  # they are embedded once, here
    before: str = ""  # how every caption begins, such as ``a photo of``
    require: Sequence[str] = ()  # words that every caption has; those that a prompt lacks are appended
    forbid: Sequence[str] = ()  # words that no caption may have

    def __post_init__(self, images: Sequence[Image]) -> None:
        if not images:
            raise InputError("there is no image to find a prompt for.")
        self.before = " ".join(self.before.split())
        self.require, self.forbid = check_words(self.before, self.require, self.forbid)
        check_length(self.model, self.complete(""), self.model.count(self.complete("")))
        self.targets: Float[Tensor, "images d"] = self.model.images(images).double()
        self.items = len(self.targets)  # how many pictures there are

    def __call__(self, prompts: Sequence[str]) -> Float[Tensor, " n"]:
        """Mean cosine of each prompt's caption with the pictures, less 2 for each forbidden word in it, in float64."""
        return self.aggregate(self.score(prompts))

    def score(self, prompts: Sequence[str], items: Sequence[int] | None = None) -> Float[Tensor, "n images"]:
        """Cosine of each prompt's caption with each picture, or those numbered, less 2 for each forbidden word in it.

        A caption that the model cannot read whole has the cosine -1, and the same 2 less.
        """
        at = list(range(self.items) if items is None else items)
        fits = [self._fits(prompt) for prompt in prompts]
        broken = [self._broken(prompt) for prompt in prompts]
        scores = torch.full((len(prompts), len(at)), -1.0 - _PENALTY, dtype=torch.float64)
        if any(fits):
            read = [prompt for prompt, fit in zip(prompts, fits, strict=True) if fit]
            scores[torch.tensor(fits)] = self.scores(read)[:, at]
        return scores - _PENALTY * torch.tensor(broken, dtype=torch.float64)[:, None]

    def aggregate(self, scores: Float[Tensor, "n images"], _: Sequence[int] | None = None) -> Float[Tensor, " n"]:
        """The mean over the pictures."""
        return scores.mean(-1)

    def scores(self, prompts: Sequence[str]) -> Float[Tensor, "n images"]:
        """Cosine of each prompt's caption, which the model can read whole, with each picture, in float64."""
        return self.model.texts([self.complete(prompt) for prompt in prompts]).double() @ self.targets.T

    def objective(self, *, tokens: Tokens = "any", script: str = "latin") -> InversionObjective:
        """The loss of this task that has gradients, for prompts of such tokens."""
        return InversionObjective(self, tokens=tokens, script=script)

    def complete(self, prompt: str) -> str:
        """The caption that a user pastes: the beginning, the prompt, and the required words that they lack.

        White space is one space between words and none at the ends.
        """
        caption = self._begun(" ".join(prompt.split()))
        for word in self.require:
            if not occurs(word, caption):
                caption = f"{caption}, {word}" if caption else word
        return caption

    def prompt_of(self, caption: str) -> str:
        """The prompt behind the beginning of a caption that has it; else the caption, which then stands behind it."""
        words = " ".join(caption.split())
        rest = words.removeprefix(self.before).strip()
        return rest if self._begun(rest) == words else words

    def _begun(self, words: str) -> str:
        """The beginning, and words behind it."""
        gap = " " if self.before and words and not words.startswith(_CLINGS) else ""
        return self.before + gap + words

    def allowed(self, prompt: str) -> bool:
        """Whether the prompt's caption has no forbidden word and can be read whole."""
        return self._fits(prompt) and not self._broken(prompt)

    def _fits(self, prompt: str) -> bool:
        return self.model.count(self.complete(prompt)) <= self.model.text_limit

    def _broken(self, prompt: str) -> int:
        return sum(occurs(word, self.complete(prompt)) for word in self.forbid)


class InversionObjective:
    """One minus the mean cosine of a caption with the pictures.

    The caption is what the task makes of a prompt; a required word stands behind it whether it is in it or not, and a
    forbidden word is for the reward to punish.

    Args:
        task: the pictures and what a caption is made of.
        tokens: what a prompt may be made of, of the text tower's vocabulary.
        script: of its words.

    Source: PEZ section 4.1 (Wen et al., 2023).
    """

    soft: SoftPrompts | None = None  # a picture's prompt is there to be read

    def __init__(self, task: Inversion, *, tokens: Tokens = "any", script: str = "latin") -> None:
        self._task = task
        self.tokenizer = task.model.tokenizer
        self.table = token_vectors(task.model.embedding)
        opening, closing = special_ids(self.tokenizer)
        self._ends = len(opening), len(closing)
        allowed = allowed_tokens(self.tokenizer, len(self.table), tokens=tokens, script=script)
        ids = allowed.nonzero()[:, 0]
        # A tower may read a text otherwise than its tokenizer does, such as in lower case.
        read = self._read(self.tokenizer.batch_decode(ids[:, None]))
        allowed[ids[torch.tensor([own != [i] for i, own in zip(ids.tolist(), read, strict=True)])]] = False
        before, _, after = task.complete("\0").partition("\0")
        # A caption has one space between the beginning and the prompt, and none before the first word of all.
        spaced = before != ""
        opens, self.follows = first_tokens(self.tokenizer, allowed, tokens=tokens, place=Place(before.rstrip(), spaced))
        fitting = opens & (begins_with_space(self.tokenizer, len(self.table)) == spaced)
        self.opens = fitting if bool(fitting.any()) else opens
        some = letter(self.tokenizer)
        left, word, behind = self._read([before.rstrip(), some, some + after])
        # Some tokenizers put a space before a text, which what stands behind the prompt must not get.
        right = behind[len(word) :] if behind[: len(word)] == word else self._read([after])[0]
        self._left, self._right = [*opening, *left], [*right, *closing]
        self._blank = int(allowed.nonzero()[0])

    def _read(self, texts: Sequence[str]) -> list[list[int]]:
        """The tower's tokens of each text, without the special ones."""
        first, last = self._ends
        return [ids[first : len(ids) - last] for ids in self._task.model.ids(texts)]

    def text(self, ids: Sequence[int]) -> str:
        """A prompt of these tokens; the caption has the spaces around it."""
        return str(self.tokenizer.decode(ids))

    def parts(self, vectors: Float[Tensor, "n length d"]) -> Iterator[Float[Tensor, " n"]]:
        """The loss, whole: it is a matter of one caption."""
        yield self.loss(vectors)

    def loss(self, vectors: Float[Tensor, "n length d"]) -> Float[Tensor, " n"]:
        """1 - cosine, averaged over the pictures, in [0, 2].

        Raises:
            InputError: a caption that the tower cannot read whole.
        """
        tokens = len(self._left) + vectors.shape[1] + len(self._right)
        check_length(self._task.model, self._task.complete("…"), tokens)
        ids = [*self._left, *[self._blank] * vectors.shape[1], *self._right]
        begin = torch.full((len(vectors),), self._task.model.padding(len(ids)) + len(self._left))
        with substituted(self._task.model.embedding, begin, vectors):
            read = self._task.model.read([ids] * len(vectors))
        return 1.0 - (read @ self._task.targets.to(read).T).mean(-1)

"""GrIPS: edits the phrases of an instruction and keeps an edit when the training reward rises."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.policy import PolicyLM
from hardprompt.optimizers.checks import MANY, check
from hardprompt.optimizers.record import Record
from hardprompt.search.engine import EVERYTHING, Proposal

Paraphraser = Callable[[str], Sequence[str]]
DELETE, SWAP, PARAPHRASE, ADD = OPERATIONS = range(4)

_REDRAWS = 8  # of a prompt that was already scored, before it is accepted
_LONGEST = 60  # tokens; so many have room beside any text that has to be cut
_PARAPHRASES = 10  # sampled for a phrase, as many as the released search draws from
_PHRASES = 10_000  # whose paraphrases are remembered; those of the oldest are sampled again, to the same
_TOKENS = 32  # a longer phrase is not paraphrased
_WORDS = 5  # a longer stretch without a function word is cut evenly
_MARKS = ".,;:!?…"
_PLAIN = re.compile(r"[^\W_]+(?:(?:, |[ '’-])[^\W_]+)*")  # words with a space, comma, hyphen or apostrophe between
_ENGLISH = """
a an the this that these those my your his her its our their some any each every no all both either neither
about above across after against along among around as at before behind below between beyond by despite during
except for from in inside into like near of off on onto out outside over per since through throughout to toward
towards under until up upon via with within without
and or but nor so yet if because although though while unless whereas than whether
who whom whose which what when where why how
am is are was were be been being do does did have has had can could may might must shall should will would
"""
_FUNCTION_WORDS = frozenset(_ENGLISH.split())
_CONTEXT = """"in a few words" means "briefly"
"the whole book" means "the book from beginning to end"
"whether it is true" means "if that is right"
"find out" means "determine"
"{phrase}" means \""""


def split(text: str) -> list[str]:
    """Cut a text into pieces: phrases, and the marks that end them (``join`` puts the same text together again).

    A phrase ends at a mark (one or more of ``.,;:!?…`` that end a word or stand alone) and before a function word
    that follows some other word. A stretch of more than five words is cut evenly, and a text that is one phrase is
    cut into its words. Quotation marks and brackets belong to their word.
    """
    pieces: list[str] = []
    phrase: list[str] = []
    for word in text.split():
        bare = word.rstrip(_MARKS)
        if bare.lower() in _FUNCTION_WORDS and any(w.lower() not in _FUNCTION_WORDS for w in phrase):
            pieces += _cut(phrase)
            phrase = []
        if bare:
            phrase.append(bare)
        if mark := word[len(bare) :]:
            alone = " " if not bare and (pieces or phrase) else ""
            pieces += _cut(phrase)
            phrase = []
            if pieces and is_mark(pieces[-1]):
                pieces[-1] += alone + mark
            else:
                pieces.append(alone + mark)
    pieces += _cut(phrase)
    if len(places(pieces)) == 1:
        pieces = [word for piece in pieces for word in ([piece] if is_mark(piece) else piece.split())]
    return pieces


def _cut(phrase: list[str]) -> list[str]:
    parts = -(-len(phrase) // _WORDS)
    return [" ".join(phrase[len(phrase) * k // parts : len(phrase) * (k + 1) // parts]) for k in range(parts)]


def join(pieces: Sequence[str]) -> str:
    """The text of the pieces: a space before a phrase, none before a mark that came with none."""
    return "".join(piece if is_mark(piece) else f" {piece}" for piece in pieces).strip()


def is_mark(piece: str) -> bool:
    """Whether a piece is no phrase."""
    return not piece.strip(_MARKS + " ")


def places(pieces: Sequence[str]) -> list[int]:
    """Where the phrases are."""
    return [i for i, piece in enumerate(pieces) if not is_mark(piece)]


def boundaries(pieces: Sequence[str]) -> list[int]:
    """Before which pieces a phrase may be put: those where a phrase begins or has just ended."""
    return sorted({i + side for i in places(pieces) for side in (0, 1)})


def delete(pieces: Sequence[str], at: int) -> list[str]:
    """Without the phrase at ``at``, and without the mark that would be left with nothing to end."""
    before, after = list(pieces[:at]), list(pieces[at + 1 :])
    if after and is_mark(after[0]):
        if not before:
            del after[0]
        elif is_mark(before[-1]):
            del before[-1]
    return before + after


def swap(pieces: Sequence[str], first: int, second: int) -> list[str]:
    """With two phrases in each other's place."""
    changed = list(pieces)
    changed[first], changed[second] = changed[second], changed[first]
    return changed


def replace(pieces: Sequence[str], at: int, phrase: str) -> list[str]:
    """With ``phrase`` in the place of the phrase at ``at``."""
    return [*pieces[:at], phrase, *pieces[at + 1 :]]


def add(pieces: Sequence[str], gap: int, phrase: str) -> list[str]:
    """With ``phrase`` before the piece at ``gap`` (one of ``boundaries``)."""
    return [*pieces[:gap], phrase, *pieces[gap:]]


def propose(
    text: str, deleted: Sequence[str], *, edits: int, paraphrase: Paraphraser, generator: torch.Generator
) -> tuple[str, list[str]]:
    """A text that random edits make of ``text``.

    The operation is drawn uniformly among those that are possible: a text of one phrase can lose none, ``add`` needs
    a phrase that was deleted, and a phrase that has no paraphrase sends the draw to another operation. The phrases
    are found anew after each edit. When nothing is possible the text comes back as it is.

    Args:
        text: what is edited.
        deleted: the phrases that ``add`` may put back.
        edits: operations, one after the other.
        paraphrase: other ways to say a phrase, possibly none.
        generator: of the draws.

    Returns:
        The new text and the phrases that were deleted on the way to it and not put back.
    """
    spare, fresh = list(deleted), []
    for _ in range(edits):
        pieces = split(text)
        at, gaps = places(pieces), boundaries(pieces)
        for operation in torch.randperm(len(OPERATIONS), generator=generator).tolist():
            i, j = _draw(len(at), generator), _draw(len(at) - 1, generator)
            if operation == DELETE and len(at) > 1:
                fresh.append(pieces[at[i]])
                pieces = delete(pieces, at[i])
            elif operation == SWAP and len(at) > 1:
                pieces = swap(pieces, at[i], at[j + (j >= i)])
            elif operation == PARAPHRASE and (others := paraphrase(pieces[at[i]])):
                pieces = replace(pieces, at[i], others[_draw(len(others), generator)])
            elif operation == ADD and spare:
                gap = gaps[_draw(len(gaps), generator)]
                pieces = add(pieces, gap, spare.pop(_draw(len(spare), generator)))
            else:
                continue
            break
        text = join(pieces)
    return text, spare + fresh


def _draw(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(max(count, 1), (1,), generator=generator))


def usable(phrase: str, texts: Sequence[str]) -> list[str]:
    """The texts that can stand for ``phrase``: plain words, not its own, and at most twice as many; each once."""
    found = dict.fromkeys(" ".join(text.split()).rstrip(_MARKS) for text in texts)
    most = 2 * len(phrase.split())
    return [t for t in found if _PLAIN.fullmatch(t) and t.casefold() != phrase.casefold() and len(t.split()) <= most]


@dataclass(kw_only=True, eq=False)
class GrIPS:
    """Hill climbing over edits of an instruction: delete, swap, paraphrase or put back one of its phrases.

    A step proposes ``candidates`` prompts, each made of the current base by ``edits`` operations. The best of them
    becomes the base if its reward is higher than the base's. The first step also proposes ``phrase`` itself.

    Where this departs from the paper: after ``patience`` steps without gain it stops, we begin again at ``phrase``,
    so that the budget is used as every method uses it. Its phrases come from a constituency parser, ours from
    punctuation and function words (see ``split``; English). Its paraphrases come from PEGASUS, ours are sampled from
    the policy LM. Its score adds the entropy of the predicted labels to the accuracy, ours is the task's reward. A
    prompt that was already scored is drawn again a few times, none grows beyond 60 tokens or the phrase's own, a mark
    goes with the phrase that it ended, and a phrase is put back wherever one begins or ends, not only after one.

    Raises:
        InputError: a phrase without a word, or a setting out of range.

    Source: Prasad et al., EACL 2023; the operations and the default settings are those of its run_search.py.
    """

    policy: PolicyLM  # frozen; it paraphrases
    phrase: str  # the instruction that the search begins at; every prompt opens with a space if it does
    seed: int = 0  # of the draws and the paraphrases
    candidates: int = 5  # prompts made of the base in a step (m in the paper)
    edits: int = 1  # operations that make a candidate
    patience: int = 2  # steps without gain after which the search begins again (P in the paper)
    recommended: int = 9  # how many of the best prompts ``recommend`` returns

    def __post_init__(self) -> None:
        check(candidates=(self.candidates, 1, MANY), edits=(self.edits, 1, MANY), patience=(self.patience, 1, MANY))
        if not places(split(self.phrase)):
            raise InputError(f"the phrase is {self.phrase!r}; give an instruction of at least one word to begin at.")
        self._lm = CausalLM(self.policy.packed.model, self.policy.tokenizer)
        self._record = Record(seed=self.seed, recommended=self.recommended)
        self._space = " " if self.phrase.startswith(" ") else ""
        self._first = self._space + " ".join(self.phrase.split())
        self._most = max(_LONGEST, self._lm.count(self._first))
        self._first_reward: float | None = None  # until the first step
        self._base, self._base_reward = self._first, float("-inf")
        self._deleted: list[str] = []
        self._waited = 0  # steps since the last gain
        self._paraphrases: dict[str, list[str]] = {}  # what they are follows from the seed, so they are not saved

    def ask(self, room: int = EVERYTHING) -> Proposal:
        """Edit the base; the memo holds what each prompt has deleted."""
        prompts: list[str] = []
        deleted: list[list[str]] = []
        if self._first_reward is None:
            prompts, deleted = [self._first], [[]]
        for _ in range(min(self.candidates, room - len(prompts))):
            for _ in range(1 + _REDRAWS):
                text, gone = propose(
                    self._base, self._deleted, edits=self.edits, paraphrase=self._paraphrase,
                    generator=self._record.generator,
                )  # fmt: skip
                prompt = self._space + text
                fits = self._lm.count(prompt) <= self._most
                if fits and prompt not in self._record and prompt not in prompts:
                    break
            if not fits:
                prompt, gone = self._base, list(self._deleted)
            prompts.append(prompt)
            deleted.append(gone)
        return Proposal(prompts, {"deleted": deleted})

    def tell(self, proposal: Proposal, rewards: Float[Tensor, " n"]) -> dict[str, float]:
        """Move the base to the best candidate if that is a gain, or begin again; returns the reward of the base."""
        values = rewards.tolist()
        self._record.add(proposal, rewards)
        if self._first_reward is None:
            self._first_reward = self._base_reward = values[0]
        best = max(range(len(values)), key=values.__getitem__)
        self._waited += 1
        if values[best] > self._base_reward:
            self._base, self._base_reward = proposal.prompts[best], values[best]
            self._deleted, self._waited = proposal.memo["deleted"][best], 0
        log = {"base_reward": self._base_reward}
        if self._waited == self.patience:
            self._base, self._base_reward = self._first, self._first_reward
            self._deleted, self._waited = [], 0
        return log

    def recommend(self) -> list[str]:
        """The best prompts seen by training reward."""
        return self._record.best()

    def state_dict(self) -> dict[str, Any]:
        """The base and what led to it, the seed, the generator and what was seen."""
        return {
            "first": self._first,
            "first_reward": self._first_reward,
            "base": self._base,
            "base_reward": self._base_reward,
            "deleted": list(self._deleted),
            "waited": self._waited,
            "seed": self.seed,
            **self._record.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._first, self._first_reward = state["first"], state["first_reward"]
        self._base, self._base_reward = state["base"], state["base_reward"]
        self._deleted, self._waited = list(state["deleted"]), state["waited"]
        self.seed, self._paraphrases = state["seed"], {}
        self._record.load_state_dict(state)

    def _paraphrase(self, phrase: str) -> list[str]:
        if phrase not in self._paraphrases:
            tokens = self._lm.count(phrase)
            contexts = [_CONTEXT.format(phrase=phrase)] if tokens <= _TOKENS else []
            texts = self._lm.generate(
                contexts, samples=_PARAPHRASES, seed=self.seed, longest=2 * tokens + 4, stop=('"', "\n"), top_k=10
            )
            if len(self._paraphrases) >= _PHRASES:
                del self._paraphrases[next(iter(self._paraphrases))]
            self._paraphrases[phrase] = usable(phrase, [text for row in texts for text in row])
        return self._paraphrases[phrase]

"""The loss behind few-shot classification, with gradients: cross-entropy among the verbalizers."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.lms.answers import Pooling, answers
from hardprompt.lms.causal import TEXTS_SHARE, CausalLM
from hardprompt.lms.kept import Kept
from hardprompt.lms.masked import MaskedLM
from hardprompt.lms.tokens import ids_behind, letter, plain_ids, special_ids
from hardprompt.lms.vectors import substituted, token_vectors
from hardprompt.lms.vocabulary import Place, Tokens, allowed_tokens, begins_with_space, first_tokens, prompt_text
from hardprompt.optimizers.gradient.soft import SoftPrompts
from hardprompt.tasks.classify.answers import check_gradient
from hardprompt.tasks.classify.calibration import leaning
from hardprompt.tasks.classify.prior import Calibration
from hardprompt.tasks.template import Template

_ROWS = 64  # sequences of one forward pass,
_TOKENS = 4096  # and tokens of them, each of which leaves states in a graph; a kept one its keys and values,
_KEPT = 4  # so many of which count as one
_LONGEST = 64  # vectors of a prompt for which the work on what stands before it is used


@dataclass(frozen=True)
class _Row:
    """What stands around the prompt's place in one sequence, and which of its tokens are an answer's."""

    left: tuple[int, ...]
    right: tuple[int, ...]
    reads: tuple[tuple[int, int, int, float], ...]
    """Of each answer's tokens: column of the answer, place in the sequence without the prompt, the token, its weight.
    """


@dataclass(kw_only=True, eq=False)
class ClassificationObjective:
    """Cross-entropy of the right answer among the verbalizers, averaged over texts.

    With a causal model the work on what stands before the prompt is done once.

    Raises:
        InputError: a task model without gradients, or a causal one whose prompt comes after the answer.

    Source: the label's likelihood is the loss of AutoPrompt (Shin et al., 2020), PEZ and prompt tuning.
    """

    lm: Any  # the task model, local
    texts: Sequence[str]  # of the training set
    labels: Int[Tensor, " n"]  # index of each text's class
    template: Template  # where text, prompt and answer stand
    choices: Sequence[str]  # the verbalizers, in the order of the classes
    how: Pooling = "sum"  # what an answer of several tokens counts
    tokens: Tokens = "any"  # what a prompt may be made of
    script: str = "latin"  # of its words
    soft: SoftPrompts | None = None  # takes prompts that are no text
    calibrate: Calibration = "none"  # as the reward
    prior: Float[Tensor, " classes"] | None = None  # of the classes, where the answers are calibrated

    def __post_init__(self) -> None:
        lm, template, choices = self.lm, self.template, self.choices
        if not isinstance(lm, CausalLM | MaskedLM):
            raise InputError(f"the task model is a {type(lm).__name__}, which gives no gradients; use a local model.")
        if not (lm.pads if isinstance(lm, MaskedLM) else lm.packed.allows("padded", 1)):
            raise InputError(
                "the task model's answer changes with padding, and a loss with gradients is of padded batches; "
                "use another task model, or a method without gradients."
            )
        self.tokenizer = lm.tokenizer
        self._embedding = lm.model.get_input_embeddings()
        self.table = token_vectors(self._embedding)
        allowed = allowed_tokens(lm.tokenizer, len(self.table), tokens=self.tokens, script=self.script)
        left, _ = template.sides(letter(lm.tokenizer), lm.blank)
        self._place = Place.behind(left, spaced=template.spaced)
        opens, self.follows = first_tokens(lm.tokenizer, allowed, tokens=self.tokens, place=self._place)
        fitting = opens & begins_with_space(lm.tokenizer, len(self.table)) if self._place.spaced else opens
        self.opens = fitting if bool(fitting.any()) else opens
        self._blank = int(allowed.nonzero()[0])  # stands in the prompt's place; its vector is never read
        self._pad = lm.tokenizer.pad_token_id or 0
        rows: Any = _causal_rows if isinstance(lm, CausalLM) else _masked_rows
        # What stands behind the prompt is cut as behind a word; with the longest it is least like to grow together.
        words = map(str.strip, lm.tokenizer.batch_decode(self.follows.nonzero()))
        word = max(filter(str.isalpha, words), key=len, default=letter(lm.tokenizer))
        found = [(n, rows(lm, template, text, tuple(choices), self.how, word)) for n, text in enumerate(self.texts)]
        # like lengths share a forward pass
        self._rows: list[tuple[int, list[_Row]]] = sorted(
            found, key=lambda one: max(len(row.left) + len(row.right) for row in one[1])
        )
        longest = max(len(row.left) + len(row.right) for _, own in self._rows for row in own)
        self._follows = False
        if isinstance(lm, CausalLM) and lm.packed.allows("tree", longest + _LONGEST):
            self._follows = True  # what stands before the prompt is run once, as far as there is room for what it gives
            lm.packed.keep([row.left for _, own in self._rows for row in own], share=TEXTS_SHARE)

    def text(self, ids: Sequence[int]) -> str:
        """A prompt of these tokens as it is put into the template."""
        return prompt_text(self.tokenizer, ids, self._place)

    def loss(self, vectors: Float[Tensor, "n length d"]) -> Float[Tensor, " n"]:
        """Mean over texts of -log P(class | text, prompt), calibrated, renormalised over the verbalizers."""
        return torch.stack(list(self.parts(vectors))).sum(0)

    def parts(self, vectors: Float[Tensor, "n length d"]) -> Iterator[Float[Tensor, " n"]]:
        """The loss, text group by text group; the parts add up to it.

        Calibration makes the loss of a text depend on all of them, so it takes a pass without gradients first.
        """
        if self.calibrate == "none":
            for numbers, scores in self._groups(vectors):
                yield self._entropy(scores, self.labels[numbers]).sum(-1) / len(self.texts)
            return
        with torch.no_grad():
            whole = self.scores(vectors).cpu().double()  # as the reward has them: a fit needs the digits
        whole.requires_grad_(True)
        found = leaning(self.calibrate, whole, self.labels, self.prior)
        loss = self._entropy(whole if found is None else found.taken_from(whole), self.labels)
        (slope,) = torch.autograd.grad(loss.mean(-1).sum(), whole)
        for numbers, scores in self._groups(vectors):
            linear = (slope[:, numbers].to(scores) * scores).sum((1, 2))  # has the gradient of the whole in these texts
            yield linear - linear.detach() + loss.detach()[:, numbers].sum(-1).to(scores) / len(self.texts)

    def _entropy(
        self, scores: Float[Tensor, "n texts choices"], labels: Int[Tensor, " texts"]
    ) -> Float[Tensor, "n texts"]:
        right = labels.to(scores.device).expand(len(scores), -1)[..., None]
        return -scores.log_softmax(-1).gather(-1, right)[..., 0]

    def scores(self, vectors: Float[Tensor, "n length d"]) -> Float[Tensor, "n texts choices"]:
        """Log-probability of each choice in each text, up to one constant per text; differentiable."""
        found = list(self._groups(vectors))
        order = torch.tensor([number for numbers, _ in found for number in numbers]).argsort()
        whole: Tensor = torch.cat([scores for _, scores in found], 1)
        return whole[:, order.to(whole.device)]

    def _groups(self, vectors: Float[Tensor, "n length d"]) -> Iterator[tuple[list[int], Tensor]]:
        """Numbers and scores of some texts at a time, as many as a forward pass holds."""
        for group in self._passes(vectors.shape[1]):
            rows = [row for _, own in group for row in own]
            prompts = max(1, min(_ROWS, _TOKENS // self._cost(rows, vectors.shape[1])) // len(rows))
            # before the prompt's vectors are put in the place of tokens
            begun = self.lm.packed.begun([row.left for row in rows]) if self._held(vectors.shape[1]) else None
            reads = torch.cat([self._read(rows, v, begun) for v in vectors.split(prompts)])
            columns = [(t, column) for t, (_, own) in enumerate(group) for row in own for column, *_ in row.reads]
            where = [t * len(self.choices) + column for t, column in columns]
            flat = torch.zeros(len(vectors), len(group) * len(self.choices), device=reads.device)
            # an answer of several tokens is read in several places: they add up
            flat = flat.index_add(1, torch.tensor(where, device=reads.device), reads)
            yield [number for number, _ in group], flat.reshape(len(vectors), len(group), len(self.choices))

    def _read(
        self, rows: Sequence[_Row], vectors: Float[Tensor, "n length d"], begun: list[Kept] | None
    ) -> Float[Tensor, "n reads"]:
        """Scores of the answers' tokens, for each prompt those of every row in turn."""
        n, length = vectors.shape[:2]
        held = begun is not None
        lefts = [() if held else row.left for row in rows]
        sequences = [[*left, *[self._blank] * length, *row.right] for left, row in zip(lefts, rows, strict=True)]
        width = max(map(len, sequences))
        ids = torch.tensor([own + [self._pad] * (width - len(own)) for own in sequences]).repeat(n, 1)
        seen = torch.tensor([[1] * len(own) + [0] * (width - len(own)) for own in sequences]).repeat(n, 1)
        ids, seen = ids.to(self.lm.device), seen.to(self.lm.device)
        begin = torch.tensor([len(left) for left in lefts]).repeat(n)
        reads = [
            (r, place + (length if place >= len(row.left) else 0) - (len(row.left) if held else 0), token, weight)
            for r, row in enumerate(rows)
            for _, place, token, weight in row.reads
        ]
        row, place, token, weight = (torch.tensor(column).repeat(n) for column in zip(*reads, strict=True))
        weight = weight.to(self.lm.device)
        row = row + torch.arange(n).repeat_interleave(len(reads)) * len(rows)
        with substituted(self._embedding, begin, vectors.repeat_interleave(len(rows), 0)):
            if isinstance(self.lm, MaskedLM):
                where = torch.zeros(len(ids), dtype=torch.long).index_copy(0, row, place)  # one place in a row
                logits = self.lm.logits(ids, seen, where.to(ids.device)).float()
                chosen: Tensor = logits.log_softmax(-1)[row, token]
                return (weight * chosen).reshape(n, -1)
            if begun is not None:
                states = self.lm.packed.follow([own.left for own in rows] * n, begun * n, ids.tolist())
            else:  # padding on the right is harmless: no earlier place looks at it
                states = self.lm.packed.states(input_ids=ids, attention_mask=seen, use_cache=False)
        first = [min(read[1] for read in own.reads) for own in rows]  # all answers of a row begin in one place
        begins = [read[1] == f for own, f in zip(rows, first, strict=True) for read in own.reads]
        # the normaliser of the first token is the same for all answers, and is left out where it counts the same
        even = len({w for w, begin in zip(weight[: len(begins)].tolist(), begins, strict=True) if begin}) == 1
        apart = [not (begin and even) for begin in begins]
        found = self._predicted(states[row, place - 1].float(), token, torch.tensor(apart).repeat(n))
        return (weight * found).reshape(n, -1)

    def _predicted(
        self, states: Float[Tensor, "reads hidden"], token: Int[Tensor, " reads"], apart: Bool[Tensor, " reads"]
    ) -> Float[Tensor, " reads"]:
        """Scores of tokens after states of a causal model; ``apart`` are those whose normaliser answers don't share."""
        head = self.lm.packed.head
        logits: Tensor = head.each(states, token)
        if not bool(apart.any()):
            return logits
        every = head.logits(states[apart])
        return logits.index_add(0, apart.nonzero()[:, 0].to(logits.device), -every.logsumexp(-1))

    def _passes(self, length: int) -> Iterator[list[tuple[int, list[_Row]]]]:
        """The texts in groups that a forward pass holds, with a prompt of such a length."""
        each = max(1, _ROWS // max(len(rows) for _, rows in self._rows))
        group: list[tuple[int, list[_Row]]] = []
        for text in self._rows:
            rows = [row for _, own in [*group, text] for row in own]
            if group and (len(group) == each or len(rows) * self._cost(rows, length) > _TOKENS):
                yield group
                group = []
            group.append(text)
        yield group

    def _cost(self, rows: Sequence[_Row], length: int) -> int:
        """Tokens of the longest of the sequences around a prompt of such a length, as they count in a pass."""
        kept = _KEPT if self._held(length) else 1
        return length + max(len(row.left) // kept + len(row.right) for row in rows)

    def _held(self, length: int) -> bool:
        """Whether what stands before a prompt of such a length is run before it."""
        return self._follows and length <= _LONGEST


def _causal_rows(
    lm: CausalLM, template: Template, text: str, choices: tuple[str, ...], how: Pooling, word: str
) -> list[_Row]:
    """A row for each way that the answers but for their last token go on, behind a prompt that ends in ``word``."""
    check_gradient(template, causal=True)
    before, after = template.fill(text, "")
    left_text = template.before_prompt(text)
    middle = before[len(left_text) :]
    (left,) = lm.encode([Place.behind(left_text, spaced=template.spaced).before or ""])
    between = ids_behind(lm.tokenizer, middle, word)
    tails: dict[tuple[int, ...], list[tuple[int, int, int, float]]] = defaultdict(list)
    start = len(left) + len(between)
    for column, option in enumerate(answers(lm.tokenizer, choices, how=how, after=after, context=word + middle)):
        pairs = enumerate(zip(option.ids, option.weights, strict=True), start)
        tails[option.ids[:-1]] += [(column, place, token, weight) for place, (token, weight) in pairs]
    return [_Row(tuple(left), (*between, *tail), tuple(reads)) for tail, reads in tails.items()]


def _masked_rows(
    lm: MaskedLM, template: Template, text: str, choices: tuple[str, ...], how: Pooling, word: str
) -> list[_Row]:
    """A row for each state in which an answer's masks are filled from left to right, likewise."""
    left_text, right_text = template.sides(text, lm.blank)
    opening, closing = special_ids(lm.tokenizer)
    left = [*opening, *plain_ids(lm.tokenizer, Place.behind(left_text, spaced=template.spaced).before or "")]
    right = [*ids_behind(lm.tokenizer, right_text, word), *closing]
    mask = lm.tokenizer.mask_token_id
    at = (left if mask in left else right).index(mask)
    start = at if mask in left else len(left) + at
    rows: dict[tuple[int, ...], list[tuple[int, int, int, float]]] = defaultdict(list)
    for column, option in enumerate(answers(lm.tokenizer, choices, how=how)):
        for i, (token, weight) in enumerate(zip(option.ids, option.weights, strict=True)):
            rows[(*option.ids[:i], *[mask] * (len(option.ids) - i))].append((column, i, token, weight))
    found = []
    for filled, reads in rows.items():
        sides = [tuple([*side[:at], *filled, *side[at + 1 :]] if mask in side else side) for side in (left, right)]
        # masks that stand before the prompt push it back, and with it nothing that is read
        found.append(_Row(sides[0], sides[1], tuple((c, start + i, t, w) for c, i, t, w in reads)))
    return found

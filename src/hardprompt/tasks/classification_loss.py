"""The loss behind few-shot classification, with gradients: cross-entropy among the verbalizers."""

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from hardprompt.errors import InputError
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.masked import MaskedLM
from hardprompt.objectives import SoftPrompts, embedded, special_ids, substituted
from hardprompt.tasks.template import Template
from hardprompt.vocabulary import Tokens, allowed_tokens, first_tokens

_ROWS = 256  # sequences of one forward pass


@dataclass(frozen=True)
class _Row:
    """What stands around the prompt's place in one sequence, and which of its tokens are an answer's."""

    left: tuple[int, ...]
    right: tuple[int, ...]
    reads: tuple[tuple[int, int, int], ...]
    """Of each answer's tokens: column of the answer, place in the sequence without the prompt, the token."""


class ClassificationObjective:
    """Cross-entropy of the right answer among the verbalizers, averaged over texts.

    With a causal model the work on what stands before the prompt is done once.

    Args:
        lm: the task model, local.
        texts: training texts.
        labels: index of each text's class.
        template: where text, prompt and answer stand.
        choices: the verbalizers, in the order of the classes.
        tokens: what a prompt may be made of.
        script: of its words.
        soft: takes prompts that are no text.

    Raises:
        InputError: a task model without gradients, or a causal one whose prompt comes after the answer.

    Source: the label's likelihood is the loss of AutoPrompt (Shin et al., 2020), PEZ and prompt tuning.
    """

    def __init__(
        self,
        *,
        lm: Any,
        texts: Sequence[str],
        labels: Int[Tensor, " n"],
        template: Template,
        choices: Sequence[str],
        tokens: Tokens = "any",
        script: str = "latin",
        soft: SoftPrompts | None = None,
    ) -> None:
        if not isinstance(lm, CausalLM | MaskedLM):
            raise InputError(f"the task model is a {type(lm).__name__}, which gives no gradients; use a local model.")
        self._lm, self._labels, self._columns, self._count = lm, labels, len(choices), len(texts)
        self.tokenizer, self.soft = lm.tokenizer, soft
        self._embedding = lm.model.get_input_embeddings()
        self.table = embedded(self._embedding)
        allowed = allowed_tokens(lm.tokenizer, len(self.table), tokens=tokens, script=script)
        self.opens, self.follows = first_tokens(lm.tokenizer, allowed, tokens=tokens, spaced=template.spaced)
        self._blank = int(allowed.nonzero()[0])  # stands in the prompt's place; its vector is never read
        rows: Any = _causal_rows if isinstance(lm, CausalLM) else _masked_rows
        # Sequences of one shape need no padding, so that nothing depends on how a model treats it.
        self._groups: dict[tuple[int, int], list[tuple[int, _Row]]] = defaultdict(list)
        for number, text in enumerate(texts):
            for row in rows(lm, template, text, choices):
                self._groups[len(row.left), len(row.right)].append((number, row))
        self._pasts: dict[tuple[int, int, int], Any] = {}

    def loss(self, vectors: Float[Tensor, "n length d"]) -> Float[Tensor, " n"]:
        """Mean over texts of -log P(class | text, prompt), renormalised over the verbalizers."""
        scores = self.scores(vectors).log_softmax(-1)
        right = self._labels.to(scores.device).expand(len(scores), -1)[..., None]
        return -scores.gather(-1, right)[..., 0].mean(-1)

    def scores(self, vectors: Float[Tensor, "n length d"]) -> Float[Tensor, "n texts choices"]:
        """Log-probability of each choice in each text, up to one constant per text; differentiable."""
        parts: list[Tensor] = []
        places: list[Tensor] = []
        for shape, group in self._groups.items():
            for at in range(0, len(group), _ROWS):
                part = group[at : at + _ROWS]
                # as many prompts at a time as a forward pass holds
                each = max(1, _ROWS // len(part))
                read = [self._read(shape, at, part, v) for v in vectors.split(each)]
                parts.append(torch.cat(read))
                where = [number * self._columns + column for number, row in part for column, _, _ in row.reads]
                places.append(torch.tensor(where))
        flat = torch.zeros(len(vectors), self._count * self._columns, device=parts[0].device)
        # an answer of several tokens is read in several places: they add up
        flat = flat.index_add(1, torch.cat(places).to(flat.device), torch.cat(parts, -1))
        return flat.reshape(len(vectors), self._count, self._columns)

    def _read(
        self, shape: tuple[int, int], at: int, rows: Sequence[tuple[int, _Row]], vectors: Float[Tensor, "n length d"]
    ) -> Float[Tensor, "n reads"]:
        """Scores of the answers' tokens, for each prompt those of every row in turn."""
        n, length = vectors.shape[:2]
        prompts = vectors.repeat_interleave(len(rows), 0).to(self._embedding.weight)
        right = torch.tensor([row.right for _, row in rows], dtype=torch.long)
        blank = torch.full((len(rows), length), self._blank)
        past = self._past(shape, at, rows)
        begin = 0 if past is not None else shape[0]
        left = [] if past is not None else [torch.tensor([row.left for _, row in rows], dtype=torch.long)]
        ids = torch.cat([*left, blank, right], -1).repeat(n, 1).to(self._lm.device)
        if past is not None:
            past = copy.deepcopy(past)
            past.batch_repeat_interleave(n)
            past.reorder_cache(torch.arange(n * len(rows), device=ids.device).reshape(len(rows), n).T.flatten())
        index = torch.tensor([r for r, (_, row) in enumerate(rows) for _ in row.reads])
        place = torch.tensor([p + (length if p >= shape[0] else 0) for _, row in rows for _, p, _ in row.reads])
        if isinstance(self._lm, CausalLM):
            place = place - 1 - (shape[0] - begin)  # the token before it predicts it
        token = torch.tensor([t for _, row in rows for _, _, t in row.reads])
        offset = torch.arange(n).repeat_interleave(len(index)) * len(rows)
        with substituted(self._embedding, begin, prompts):
            found = self._tokens(ids, past, index.repeat(n) + offset, place.repeat(n), token.repeat(n), rows)
        return found.reshape(n, -1)

    def _tokens(
        self, ids: Tensor, past: Any, row: Tensor, place: Tensor, token: Tensor, rows: Sequence[tuple[int, _Row]]
    ) -> Float[Tensor, " reads"]:
        if isinstance(self._lm, MaskedLM):
            where = torch.zeros(len(ids), dtype=torch.long).index_copy(0, row, place)  # one place in a row
            logits = self._lm.logits(ids, torch.ones_like(ids), where.to(ids.device)).float()
            return logits.log_softmax(-1)[row, token]
        packed = self._lm.packed
        # A model without keys and values is run whole.
        options = {} if past is None else {"past_key_values": past}
        states = packed.body(input_ids=ids, use_cache=past is not None, **options).last_hidden_state
        states = states[row, place].float()
        first = (packed.head.weight[token].float() * states).sum(-1)
        if packed.head.bias is not None:
            first = first + packed.head.bias[token].float()
        first = packed.finish(first)
        later = [p != _first(part.reads, c) for _, part in rows for c, p, _ in part.reads]
        chosen = torch.tensor(later).repeat(len(ids) // len(rows))
        if not bool(chosen.any()):
            return first  # the normaliser of a choice's first token is the same for all choices
        every = packed.finish(packed.head(states[chosen].to(packed.head.weight)).float())
        return first.index_add(0, chosen.nonzero()[:, 0], -every.logsumexp(-1))

    @torch.no_grad()
    def _past(self, shape: tuple[int, int], at: int, rows: Sequence[tuple[int, _Row]]) -> Any:
        """Keys and values of what stands before the prompt, of a causal model that has them; else None."""
        if isinstance(self._lm, MaskedLM) or shape[0] == 0:
            return None
        key = (*shape, at)
        if key not in self._pasts:
            cache = DynamicCache()
            ids = torch.tensor([row.left for _, row in rows], device=self._lm.device)
            try:
                self._lm.packed.body(input_ids=ids, past_key_values=cache, use_cache=True)
            except (AttributeError, TypeError, ValueError):  # a model with a state of another kind
                cache = DynamicCache()
            self._pasts[key] = cache if self._lm.packed.packs and cache.get_seq_length() == shape[0] else None
        return self._pasts[key]


def _first(reads: Sequence[tuple[int, int, int]], column: int) -> int:
    return min(place for c, place, _ in reads if c == column)


def _segments(template: Template, text: str) -> tuple[str, str, str]:
    """What stands before, between and behind the two slots, whichever comes first."""
    before, after = template.fill(text, "\0")
    if "\0" in before:
        left, _, middle = before.partition("\0")
        return left, middle, after
    middle, _, right = after.partition("\0")
    return before, middle, right


def _prompt_first(template: Template) -> bool:
    return "\0" in template.fill("", "\0")[0]


def _causal_rows(lm: CausalLM, template: Template, text: str, choices: Sequence[str]) -> list[_Row]:
    """A row for each way that the answers but for their last token go on."""
    if not _prompt_first(template):
        raise InputError("with a causal model a method that takes gradients needs {prompt} before {mask}.")
    before, middle, after = _segments(template, text)
    (left,) = lm.encode([before])
    between = _ids(lm.tokenizer, middle)
    tails: dict[tuple[int, ...], list[tuple[int, int, int]]] = defaultdict(list)
    for column, choice in enumerate(choices):
        ids = _ids(lm.tokenizer, choice + after)
        start = len(left) + len(between)
        tails[tuple(ids[:-1])] += [(column, start + i, token) for i, token in enumerate(ids)]
    return [_Row(tuple(left), (*between, *tail), tuple(reads)) for tail, reads in tails.items()]


def _masked_rows(lm: MaskedLM, template: Template, text: str, choices: Sequence[str]) -> list[_Row]:
    """A row for each state in which an answer's masks are filled from left to right."""
    before, middle, after = _segments(template, text)
    opening, closing = special_ids(lm.tokenizer)
    first, between, last = (_ids(lm.tokenizer, part) for part in (before, middle, after))
    mask = lm.tokenizer.mask_token_id
    rows: dict[tuple[int, ...], list[tuple[int, int, int]]] = defaultdict(list)
    for column, choice in enumerate(choices):
        ids = _ids(lm.tokenizer, choice)
        for i, token in enumerate(ids):
            rows[(*ids[:i], *[mask] * (len(ids) - i))].append((column, i, token))
    found = []
    for filled, reads in rows.items():
        if _prompt_first(template):
            left, right = [*opening, *first], [*between, *filled, *last, *closing]
            start = len(left) + len(between)
        else:
            left, right = [*opening, *first, *filled, *between], [*last, *closing]
            start = len(opening) + len(first)
        found.append(_Row(tuple(left), tuple(right), tuple((c, start + i, t) for c, i, t in reads)))
    return found


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids

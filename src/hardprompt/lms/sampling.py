"""Samples continuations of many contexts at once, each by random numbers of its own."""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from hardprompt.lms.packing import PackedModel
from hardprompt.lms.proof import States
from hardprompt.lms.tokens import text_behind
from hardprompt.search.passes import passes

_ROWS = 64  # continuations that grow side by side,
_TOKENS = 16_384  # as long as they hold no more tokens than this, padding included,
_BYTES = 1 << 30  # and no more keys and values


@torch.no_grad()
def sample(
    packed: PackedModel,
    tokenizer: Any,
    contexts: Sequence[Sequence[int]],
    *,
    keys: Sequence[Sequence[str]],
    limits: Sequence[int],
    stop: Sequence[str],
    top_k: int | None,
) -> list[list[str]]:
    """A text for every key of every context, which are token ids, none of them empty.

    A key seeds a sample; ``limits`` are the most tokens of a continuation of each context; ``stop`` and ``top_k`` are
    those of ``CausalLM.generate``.
    """
    found: list[list[str]] = [[""] * len(own) for own in keys]
    taken = side_by_side(list(map(len, contexts)), limits, list(map(len, keys)), token_bytes=packed.token_bytes)
    with passes(len(contexts)) as more:
        for batch in taken:
            draws = [[uniforms(key, limits[i]) for key in keys[i]] for i in batch]
            texts = iter(_grow(packed, tokenizer, [contexts[i] for i in batch], draws, stop, top_k))
            for i in batch:
                found[i] = [next(texts) for _ in keys[i]]
            more(len(batch))
    return found


def side_by_side(
    lengths: Sequence[int], limits: Sequence[int], copies: Sequence[int], *, token_bytes: int
) -> list[list[int]]:
    """Which contexts are continued together: of each its tokens, the most that are written, and how many times."""
    batches: list[list[int]] = []
    most = min(_TOKENS, _BYTES // (token_bytes or 1))
    for i in sorted((i for i in range(len(lengths)) if limits[i] > 0 and copies[i]), key=lengths.__getitem__):
        then = [*(batches[-1] if batches else []), i]
        count, width = sum(copies[k] for k in then), lengths[i] + max(limits[k] for k in then)
        if batches and count <= min(_ROWS, most // width):
            batches[-1] = then
        else:
            batches.append([i])
    return batches


def uniforms(key: str, count: int) -> Float[Tensor, " count"]:
    """``count`` numbers in [0, 1) that follow from ``key`` alone; more of them begin with the same ones."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1
    return torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pick(logits: Float[Tensor, "n vocabulary"], draws: Float[Tensor, " n"], top_k: int | None) -> Int[Tensor, " n"]:
    """The token of each row whose share of [0, 1) holds the row's number, likeliest tokens first."""
    width = logits.shape[-1] if top_k is None else min(top_k, logits.shape[-1])
    values, ids = logits.topk(width)
    bounds = values.double().softmax(-1).cumsum(-1)
    at = (bounds <= draws[:, None].to(bounds)).sum(-1).clamp_max(width - 1)  # rounding may end the sum below 1
    return ids.gather(-1, at[:, None])[:, 0]


def cut(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """``text`` up to the first of ``stop``, and whether one was there."""
    ends = [text.index(mark) for mark in stop if mark in text]
    return (text[: min(ends)], True) if ends else (text, False)


def _grow(
    packed: PackedModel,
    tokenizer: Any,
    contexts: Sequence[Sequence[int]],
    own: Sequence[Sequence[Tensor]],
    stop: Sequence[str],
    top_k: int | None,
) -> list[str]:
    ends = getattr(packed.model.generation_config, "eos_token_id", None)
    ends = {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}
    begun = [context for context, draws in zip(contexts, own, strict=True) for _ in draws]
    draws = [numbers for of_context in own for numbers in of_context]
    grown: list[list[int]] = [[] for _ in draws]
    texts = [""] * len(draws)
    alive = list(range(len(draws)))
    longest = max(len(context) + len(draws) for context, draws in zip(begun, draws, strict=True))
    steps = packed.allows("steps", longest, lambda ids, _: _stepped(packed, ids))
    stepper = _Stepper(packed, contexts, list(map(len, own))) if steps else None
    for position in range(max(map(len, draws))):
        if stepper is not None:
            logits = stepper.logits([grown[r][-1] for r in alive] if position else None)
        else:
            states = packed.hidden([[*begun[r], *grown[r]] for r in alive])[0]
            logits = packed.head.logits(states)
        now = torch.stack([draws[r][position] for r in alive])
        kept = []
        for k, (row, token) in enumerate(zip(alive, pick(logits.cpu(), now, top_k).tolist(), strict=True)):
            if token not in ends:
                grown[row].append(token)
                text = text_behind(tokenizer, grown[row], begun[row], skip_special_tokens=True)
                texts[row], stopped = cut(text, stop)
                if not stopped and len(grown[row]) < len(draws[row]):
                    kept.append(k)
        if not kept:
            break
        if stepper is not None and len(kept) < len(alive):
            stepper.keep(kept)
        alive = [alive[k] for k in kept]
    return texts


class _Stepper:
    """Runs a batch of continuations a token at a time, each context's keys and values computed once."""

    def __init__(self, packed: PackedModel, contexts: Sequence[Sequence[int]], copies: list[int]) -> None:
        self._packed, self._device = packed, packed.device
        width = max(map(len, contexts))
        self._first = torch.tensor([[0] * (width - len(c)) + list(c) for c in contexts], device=self._device)
        # Padding stands on the left, so that every row's next token stands in one column.
        self._mask = torch.tensor([[0] * (width - len(c)) + [1] * len(c) for c in contexts], device=self._device)
        self._next = torch.tensor([len(c) for c in contexts], device=self._device)
        self._copies = torch.tensor(copies, device=self._device)
        self._cache = DynamicCache()

    def logits(self, tokens: list[int] | None) -> Float[Tensor, "n vocabulary"]:
        """Of the next token of each row, after ``tokens`` (None: after the contexts)."""
        return self._packed.head.logits(self.states(tokens))

    def states(self, tokens: list[int] | None) -> Float[Tensor, "n hidden"]:
        """What the head makes those of."""
        if tokens is None:
            positions = (self._mask.cumsum(-1) - 1).clamp_min(0)
            hidden = self._run(self._first, positions)
            rows = torch.arange(len(self._copies), device=self._device).repeat_interleave(self._copies)
            self._cache.batch_select_indices(rows)
            self._mask, self._next, hidden = self._mask[rows], self._next[rows], hidden[rows]
        else:
            self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=1)
            hidden = self._run(torch.tensor(tokens, device=self._device)[:, None], self._next[:, None])
            self._next = self._next + 1
        return hidden

    def keep(self, rows: list[int]) -> None:
        """Go on with these rows only."""
        index = torch.tensor(rows, device=self._device)
        self._cache.batch_select_indices(index)
        self._mask, self._next = self._mask[index], self._next[index]

    def _run(self, ids: Tensor, positions: Tensor) -> Float[Tensor, "n hidden"]:
        states = self._packed.states(
            input_ids=ids, attention_mask=self._mask, position_ids=positions, past_key_values=self._cache,
            use_cache=True,
        )  # fmt: skip
        self._packed.tokens_run += ids.numel()
        return states[:, -1]


def _stepped(packed: PackedModel, sequences: list[list[int]]) -> States:
    """States at the last two places of sequences, the last by a step of its own."""
    stepper = _Stepper(packed, [ids[:-1] for ids in sequences], [1] * len(sequences))
    before, last = stepper.states(None), stepper.states([ids[-1] for ids in sequences])
    return [list(pair) for pair in zip(before, last, strict=True)]

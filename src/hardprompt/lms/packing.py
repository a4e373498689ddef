"""Runs many token sequences through a frozen causal model, each shared token once, as packed trees of prefixes."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from hardprompt.lms.head import Head
from hardprompt.lms.placing import padded, put
from hardprompt.lms.proof import FIRST, Proved, Quick, States, prove, right

_LOG = logging.getLogger(__name__)

_ROW_TOKENS = 256  # attention inside a row is quadratic in this, so a longer tree is cut into rows
_BATCH_TOKENS = 512  # tokens of one forward pass, padding included,
_GPU_BATCH_TOKENS = 16_384  # and what it takes to fill a GPU


@dataclass
class _Prefix:
    ids: list[int]
    keys: Tensor  # layers, heads, len(ids), dim
    values: Tensor


@dataclass
class _Row:
    """A tree of tokens over one kept prefix (or none); node i attends to itself, its ancestors and its share of it."""

    prefix: _Prefix | None
    # Of each node its token, parent, position, and the leading positions of the prefix that it may see.
    nodes: list[tuple[int, int, int, int]] = field(default_factory=list)
    children: dict[tuple[int, int, int], int] = field(default_factory=dict)

    def add(self, ids: Sequence[int], start: int) -> list[int]:
        """Insert ``ids``, whose first ``start`` tokens the prefix supplies; return the node of each later token."""
        path, parent = [], -1
        for position in range(start, len(ids)):
            key = (parent, start if parent < 0 else -1, ids[position])
            if key not in self.children:
                self.children[key] = len(self.nodes)
                self.nodes.append((ids[position], parent, position, start))
            parent = self.children[key]
            path.append(parent)
        return path


class PackedModel:
    """Last hidden states of a causal model at the ends of token sequences, shared work done once.

    ``keep`` computes and holds the keys and values of fixed prefixes (the texts of a data set, say). ``hidden``
    runs the rest of each sequence, from its longest common *token* prefix with what is held, as a tree in which a
    token that several sequences share stands once. The result equals running every sequence whole: that is proved
    against the model's own forward when built, and again for longer sequences (``proof``); else it is run plainly.

    Args:
        model: any causal model of transformers, frozen here.
        keep_bytes: memory for keys and values; prefixes that would exceed it are not kept, only run again.
        probed: another, whose proof is not repeated if it was of the same model in the same precision and attention.

    Raises:
        InputError: the model's own forward makes no sense as a causal model's.
    """

    def __init__(self, model: Any, *, keep_bytes: int = 2 << 30, probed: "PackedModel | None" = None) -> None:
        self.model = model.eval().requires_grad_(False)
        self.device = next(model.parameters()).device
        self.head: Head
        self._decodes: bool
        how: tuple[Any, ...] = (model, model.dtype, self.device, model.config._attn_implementation)
        same = probed is not None and probed._how == how
        self._how: tuple[Any, ...] = how
        self._proved: Proved
        self.context_length: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self._batch_tokens = _BATCH_TOKENS if self.device.type == "cpu" else _GPU_BATCH_TOKENS
        self.tokens_run = 0
        self._room = keep_bytes
        self._kept: dict[int, Any] = {}  # a trie: token -> branch; the key -1 holds the prefix that ends or passes here
        self._full: PackedModel | None  # the same model in float32, which shows more clearly what is right
        if same and probed is not None:
            self.head, self._decodes, self._full = probed.head, probed._decodes, probed._full
            self._proved = probed._proved
        else:
            self.head, self._decodes, self._seen = prove(model, like=None if probed is None else probed.head)
            self._full = None if probed is None or probed.model is model else PackedModel(probed.model, probed=probed)
            self._proved = Proved(self.context_length)
        self.dtype = self.head.weight.dtype
        if not same and not self.allows("tree", 1):
            _LOG.warning(
                "a %s takes no tree of texts or no kept keys and values: each text is run whole, which is slower",
                type(model).__name__,
            )
        self._seen = {}  # states that were of use until here

    @torch.no_grad()
    def keep(self, prefixes: Sequence[Sequence[int]]) -> None:
        """Compute and hold the keys and values of ``prefixes`` (token ids), for later calls of ``hidden``."""
        new = sorted({tuple(p) for p in prefixes if len(p) > 0 and self._longest(p)[1] < len(p)}, key=len)
        new = [p for p in reversed(new) if self.allows("tree", len(p))][::-1]  # the longest may speak for all
        for batch in _batches(new, len, self._batch_tokens):
            for p, prefix in zip(batch, self._prefixes(batch), strict=True):
                size = 2 * prefix.keys.numel() * prefix.keys.element_size()
                if size > self._room:
                    return
                self._room -= size
                branch = self._kept
                for token in p:
                    branch = branch.setdefault(token, {})
                    branch.setdefault(-1, prefix)  # any prefix that passes here supplies the keys up to here

    @torch.no_grad()
    def hidden(
        self, sequences: Sequence[Sequence[int]], *, tails: Sequence[Sequence[int]] = ((),)
    ) -> list[Float[Tensor, "n hidden"]]:
        """States after each sequence (token ids, not empty), then after each token of each tail that follows it."""
        flat = [list(s) + list(t) for s in sequences for t in tails]
        width = len(tails)
        points = [[len(s) - 1 + i for i in range(len(t) + 1)] for s in sequences for t in tails]
        longest = max(map(len, flat), default=0)
        run = (
            self._run
            if self.allows("tree", longest)
            else self._padded
            if self.allows("padded", longest)
            else self._alone
        )
        states = run(flat, points)
        ends = [(0, 0), *((k, j + 1) for k, tail in enumerate(tails) for j in range(len(tail)))]
        return [torch.stack([states[i * width + k][j] for i in range(len(sequences))]) for k, j in ends]

    def holds(self, prefix: Sequence[int], more: int) -> bool:
        """Whether ``follow`` can go on from this prefix with so many tokens."""
        return self._longest(prefix)[1] == len(prefix) > 0 and self.allows("tree", len(prefix) + more)

    def follow(
        self, prefixes: Sequence[Sequence[int]], sequences: Sequence[Sequence[int]]
    ) -> Float[Tensor, "n tokens hidden"]:
        """States of sequences of one length, each behind a prefix that is held; with gradients for their inputs."""
        rows = [_Row(self._longest(prefix)[0]) for prefix in prefixes]
        for row, prefix, ids in zip(rows, prefixes, sequences, strict=True):
            row.add([*prefix, *ids], len(prefix))
        return self._forward(rows)

    def states(self, **inputs: Any) -> Float[Tensor, "n tokens hidden"]:
        """What goes into the head, at every token of a batch that the model is given in its own words."""
        if not self._decodes:
            return self.head.states(**inputs)
        states: Tensor = self.model.get_decoder()(**inputs).last_hidden_state
        return states

    def allows(self, way: str, length: int, quick: Quick | None = None) -> bool:
        """Whether sequences of up to so many tokens may be run as a ``tree``, ``padded`` on the right, or as ``quick``.

        The first to ask for a length has it tried, against the model's own forward.
        """
        return self._proved.holds(way, length, lambda at: self._right(way, at, quick))

    def _run(self, sequences: list[list[int]], points: list[list[int]]) -> States:
        begin: list[tuple[_Prefix | None, int]] = []
        for ids, ends in zip(sequences, points, strict=True):
            prefix, match = self._longest(ids)
            start = min(match, ends[0])  # the state at a sequence's own end is always computed
            begin.append((None, 0) if prefix is None or start == 0 else (prefix, start))
        loose = sorted((i for i, (prefix, _) in enumerate(begin) if prefix is None), key=lambda i: sequences[i])
        rows: list[_Row] = []
        latest: dict[int, _Row] = {}  # of each prefix, and of none
        place: dict[int, tuple[_Row, list[int]]] = {}
        # Those without a prefix are sorted: neighbours share the longest beginnings.
        for i in [*(i for i, (prefix, _) in enumerate(begin) if prefix is not None), *loose]:
            prefix, start = begin[i]
            row, more = latest.get(id(prefix)), len(sequences[i]) - 1 if prefix is None else 0
            if row is None or len(row.nodes) + more >= _ROW_TOKENS:
                row = latest[id(prefix)] = _Row(prefix)
                rows.append(row)
            path = row.add(sequences[i], start)
            place[i] = row, [path[p - start] for p in points[i]]
        wanted: dict[int, set[int]] = defaultdict(set)
        for row, nodes in place.values():
            wanted[id(row)].update(nodes)
        slot: dict[tuple[int, int], Tensor] = {}
        for batch in _batches(sorted(rows, key=self._cost), self._cost, self._batch_tokens):
            for row, out in zip(batch, self._forward(batch), strict=True):
                nodes = sorted(wanted[id(row)])
                states = out.index_select(0, put(nodes, self.device))
                slot.update({(id(row), node): state for node, state in zip(nodes, states, strict=True)})
        return [[slot[id(place[i][0]), node] for node in place[i][1]] for i in range(len(sequences))]

    def _forward(self, rows: list[_Row]) -> Float[Tensor, "rows tokens hidden"]:
        width = max(len(row.nodes) for row in rows)
        past = max(len(row.prefix.ids) if row.prefix else 0 for row in rows)
        ids = torch.zeros(len(rows), width, dtype=torch.int64)
        positions = torch.zeros(len(rows), width, dtype=torch.int64)
        seen = torch.zeros(len(rows), width, past + width, dtype=torch.bool)
        seen[:, torch.arange(width), past + torch.arange(width)] = True  # padding sees itself: no empty softmax
        for r, row in enumerate(rows):
            n = len(row.nodes)
            ids[r, :n], parents, positions[r, :n], visible = torch.tensor(row.nodes).T
            seen[r, :n, :past] = torch.arange(past) < visible[:, None]
            tree = seen[r, :, past:]
            for node, parent in enumerate(parents.tolist()):
                if parent >= 0:
                    tree[node] |= tree[parent]
        cache = DynamicCache()
        if past:
            first = next(row.prefix for row in rows if row.prefix)
            layers, heads, _, dim = first.keys.shape
            keys = torch.zeros(layers, len(rows), heads, past, dim, dtype=self.dtype, device=self.device)
            values = keys.new_zeros(*keys.shape[:-1], first.values.shape[-1])
            for r, row in enumerate(rows):
                if row.prefix:
                    keys[:, r, :, : len(row.prefix.ids)] = row.prefix.keys
                    values[:, r, :, : len(row.prefix.ids)] = row.prefix.values
            cache = DynamicCache(list(zip(keys.unbind(0), values.unbind(0), strict=True)))
        mask = torch.zeros(seen.shape, dtype=self.dtype).masked_fill_(~seen, torch.finfo(self.dtype).min)
        states = self.states(
            input_ids=put(ids, self.device), attention_mask=put(mask[:, None], self.device),
            position_ids=put(positions, self.device), past_key_values=cache, use_cache=True,
        )  # fmt: skip
        self.tokens_run += sum(len(row.nodes) for row in rows)
        return states

    def _prefixes(self, batch: Sequence[Sequence[int]]) -> list[_Prefix]:
        ids, mask = padded(batch, self.device)
        cache = DynamicCache()
        self.states(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True)
        self.tokens_run += sum(map(len, batch))
        found = []
        for row, p in enumerate(batch):
            keys = torch.stack([layer.keys[row, :, : len(p)] for layer in cache.layers])
            values = torch.stack([layer.values[row, :, : len(p)] for layer in cache.layers])
            found.append(_Prefix(list(p), keys, values))
        return found

    def _padded(self, sequences: list[list[int]], points: list[list[int]]) -> States:
        """By sequences of like length, filled up on the right: no earlier position looks there."""
        result: States = [[] for _ in sequences]
        order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
        for batch in _batches(order, lambda i: len(sequences[i]), self._batch_tokens):
            ids, mask = padded([sequences[i] for i in batch], self.device)
            hidden = self.states(input_ids=ids, attention_mask=mask, use_cache=False)
            self.tokens_run += sum(len(sequences[i]) for i in batch)
            for k, i in enumerate(batch):
                result[i] = [hidden[k, p] for p in points[i]]
        return result

    def _alone(self, sequences: list[list[int]], points: list[list[int]]) -> States:
        """Each by the model's own forward, on nothing else."""
        result = []
        for ids, own in zip(sequences, points, strict=True):
            hidden = self._own(ids)
            result.append([hidden[p] for p in own])
            self.tokens_run += len(ids)
        return result

    def _own(self, ids: Sequence[int]) -> Float[Tensor, "tokens hidden"]:
        known = self._seen.get(tuple(ids))
        return self.head.states(input_ids=put([list(ids)], self.device))[0] if known is None else known

    def _right(self, way: str, length: int, quick: Quick | None) -> bool:
        if self._full is not None and length > FIRST:
            return self._full.allows(way, length, quick)
        before = self.tokens_run
        ways: dict[str, Quick] = {"tree": self._tree, "padded": self._padded}
        try:
            return right(self.head, self._own, quick or ways[way], length)
        finally:
            self.tokens_run = before  # what was tried is no work for anybody

    def _tree(self, sequences: list[list[int]], points: list[list[int]]) -> States:
        """As branches of one tree over a kept beginning, beside a row whose kept beginning is far longer."""
        start = max(1, len(sequences[0]) // 3)
        (prefix,) = self._prefixes([sequences[0][:start]])
        rows = [_Row(prefix)]
        paths = [rows[0].add(ids, start) for ids in sequences]
        if len(sequences[0]) == FIRST:  # a window that counts places in memory instead of positions shows here
            far = min(2 * _ROW_TOKENS, self.context_length or 2 * _ROW_TOKENS) - FIRST
            keys, values = (part[:, :, :1].expand(-1, -1, max(1, far), -1) for part in (prefix.keys, prefix.values))
            rows.append(_Row(_Prefix([0] * keys.shape[2], keys, values)))
            rows[1].add([0], 0)
        states = self._forward(rows)[0]
        return [[states[path[p - start]] for p in own] for path, own in zip(paths, points, strict=True)]

    def _cost(self, row: _Row) -> int:
        # A pass on a GPU is long, so what it copies of the kept keys and values counts, too.
        kept = 0 if self.device.type == "cpu" or row.prefix is None else len(row.prefix.ids) // 4
        return len(row.nodes) + kept

    def _longest(self, ids: Sequence[int]) -> tuple[_Prefix | None, int]:
        branch, match = self._kept, 0
        for token in ids:
            if token not in branch:
                break
            branch, match = branch[token], match + 1
        return branch.get(-1), match


def _batches(items: Sequence[Any], size: Any, limit: int) -> list[list[Any]]:
    """Cut ``items``, sorted by ``size``, into runs whose padded size stays within ``limit``."""
    batches: list[list[Any]] = []
    for item in items:
        if not batches or (len(batches[-1]) + 1) * size(item) > limit:
            batches.append([])
        batches[-1].append(item)
    return batches

"""Runs many token sequences through a frozen causal model, each shared token once, as packed trees of prefixes."""

import contextlib
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from hardprompt.lms import kept
from hardprompt.lms.head import Head
from hardprompt.lms.kept import Kept, Room
from hardprompt.lms.placing import padded, put
from hardprompt.lms.proof import APART, FIRST, Proved, Quick, States, prove, right
from hardprompt.lms.reach import reach
from hardprompt.lms.rows import Row, batches, sharing
from hardprompt.search.passes import passes

_LOG = logging.getLogger(__name__)

_ROW_TOKENS = 256  # attention inside a row is quadratic in this, so a longer tree is cut into rows
_BATCH_TOKENS = 512  # tokens of one forward pass, padding included,
_GPU_BATCH_TOKENS = 16_384  # and what it takes to fill a GPU

_Tell = Callable[[int], None]  # of how many more sequences have been run


def _quiet(_: int) -> None:
    """Tells nobody."""


class PackedModel:
    """Last hidden states of a causal model at the ends of token sequences, shared work done once.

    ``keep`` computes and holds the keys and values of fixed prefixes (the texts of a data set, say). ``hidden``
    runs the rest of each sequence, from its longest common *token* prefix with what is held, as a tree in which a
    token that several sequences share stands once. The result equals running every sequence whole: that is proved
    against the model's own forward when built, and again for longer sequences (``proof``); else it is run plainly.

    Args:
        model: any causal model of transformers, frozen here.
        room: for keys and values, if not that of the process; prefixes that it has none for are run again and again.
        probed: another, whose proof is not repeated if it was of the same model in the same precision and attention.

    Raises:
        InputError: the model's own forward makes no sense as a causal model's.
    """

    def __init__(self, model: Any, *, room: Room | None = None, probed: "PackedModel | None" = None) -> None:
        self.model = model.eval().requires_grad_(False)
        self.device = next(model.parameters()).device
        self.head: Head
        self._decodes: bool
        how: tuple[Any, ...] = (model, model.dtype, self.device, model.config._attn_implementation)
        same = probed is not None and probed._how == how
        self._how: tuple[Any, ...] = how
        self._proved: Proved
        self.context_length: int | None = reach(model) if probed is None else probed.context_length
        self._batch_tokens = _BATCH_TOKENS if self.device.type == "cpu" else _GPU_BATCH_TOKENS
        self.tokens_run = 0
        self._room: Room = room or (kept.room(self.device) if probed is None else probed._room)
        self.token_bytes = 0  # of a token's keys and values, once any were computed
        self._kept: dict[int, Any] = {}  # a trie: token -> branch; the key -1 holds the prefix that ends or passes here
        self._full: PackedModel | None  # the same model in float32, which shows more clearly what is right
        if same and probed is not None:
            self.head, self._decodes, self._full = probed.head, probed._decodes, probed._full
            self._proved, self.token_bytes = probed._proved, probed.token_bytes
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
    def keep(self, prefixes: Sequence[Sequence[int]], *, share: float = 1.0) -> list[tuple[int, ...]]:
        """Compute and hold the keys and values of ``prefixes`` (token ids), for later calls of ``hidden``.

        The shorter ones go first into their share of the room, and one that does not fit is left out. Returns those
        that are held from now on.
        """
        new = sorted({tuple(p) for p in prefixes if len(p) > 0 and self._longest(p)[1] < len(p)}, key=len)
        new = [p for p in reversed(new) if self.allows("tree", len(p))][::-1]  # the longest may speak for all
        fits = self._room.take(self, [len(p) * self.token_bytes for p in new], share=share)
        new = [p for p, held in zip(new, fits, strict=True) if held]
        for batch in batches(new, len, self._batch_tokens):
            for p, prefix in zip(batch, self._prefixes(batch), strict=True):
                branch = self._kept
                for token in p:
                    branch = branch.setdefault(token, {})
                    branch.setdefault(-1, prefix)  # any prefix that passes here supplies the keys up to here
        return new

    @contextlib.contextmanager
    def keeping(self, prefixes: Sequence[Sequence[int]]) -> Iterator[None]:
        """``keep`` them while the block runs."""
        held = self.keep(prefixes)
        try:
            yield
        finally:
            for prefix in held:
                self._forget(prefix)

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
        with passes(len(flat)) as tell:
            states = run(flat, points, tell)
        ends = [(0, 0), *((k, j + 1) for k, tail in enumerate(tails) for j in range(len(tail)))]
        return [torch.stack([states[i * width + k][j] for i in range(len(sequences))]) for k, j in ends]

    @torch.no_grad()
    def begun(self, prefixes: Sequence[Sequence[int]]) -> list[Kept]:
        """What is held of prefixes (not empty), computed now where nothing is; ``follow`` goes on from it."""
        found = {tuple(p): self._longest(p) for p in prefixes}
        own = {p: held for p, (held, match) in found.items() if held is not None and match == len(p)}
        for batch in batches(sorted(found.keys() - own.keys(), key=len), len, self._batch_tokens):
            own.update(zip(batch, self._prefixes(batch), strict=True))
        return [own[tuple(p)] for p in prefixes]

    def follow(
        self, prefixes: Sequence[Sequence[int]], begun: Sequence[Kept], sequences: Sequence[Sequence[int]]
    ) -> Float[Tensor, "n tokens hidden"]:
        """States of sequences of one length, each behind a prefix that was begun; with gradients for their inputs.

        Whole lengths have to be allowed as a ``tree``.
        """
        rows = [Row(held) for held in begun]
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

    def _run(self, sequences: list[list[int]], points: list[list[int]], tell: _Tell = _quiet) -> States:
        begin: list[tuple[Kept | None, int]] = []
        for ids, ends in zip(sequences, points, strict=True):
            prefix, match = self._longest(ids)
            start = min(match, ends[0])  # the state at a sequence's own end is always computed
            begin.append((None, 0) if prefix is None or start == 0 else (prefix, start))
        found: dict[int, list[Tensor]] = {}
        long = [i for i, (_, start) in enumerate(begin) if points[i][0] - start > max(_ROW_TOKENS, start)]
        groups = sharing({i: sequences[i][: points[i][0]] for i in long})
        for batch in batches(sorted(groups, key=lambda group: len(group[1])), lambda g: len(g[1]), self._batch_tokens):
            # a beginning that is too long for a row is run once for all that share it, and given up behind them
            lent = self._prefixes([shared for _, shared in batch])
            own: dict[int, tuple[Kept | None, int]] = {}
            for prefix, (members, _) in zip(lent, batch, strict=True):
                own.update({i: (prefix, len(prefix.ids)) for i in members})
            found.update(self._pack(sequences, points, own, tell))
        found.update(self._pack(sequences, points, {i: at for i, at in enumerate(begin) if i not in found}, tell))
        return [found[i] for i in range(len(sequences))]

    def _pack(
        self,
        sequences: list[list[int]],
        points: list[list[int]],
        begin: dict[int, tuple[Kept | None, int]],
        tell: _Tell = _quiet,
    ) -> dict[int, list[Tensor]]:
        """Of the numbered sequences, each behind so many tokens of a prefix, the states at their points."""
        loose = sorted((i for i, (prefix, _) in begin.items() if prefix is None), key=lambda i: sequences[i])
        rows: list[Row] = []
        latest: dict[int, Row] = {}  # of each prefix, and of none
        place: dict[int, tuple[Row, list[int]]] = {}
        # Those without a prefix are sorted: neighbours share the longest beginnings.
        for i in [*(i for i, (prefix, _) in begin.items() if prefix is not None), *loose]:
            prefix, start = begin[i]
            row, more = latest.get(id(prefix)), len(sequences[i]) - 1 if prefix is None else 0
            if row is None or len(row.nodes) + more >= _ROW_TOKENS:
                row = latest[id(prefix)] = Row(prefix)
                rows.append(row)
            path = row.add(sequences[i], start)
            place[i] = row, [path[p - start] for p in points[i]]
        wanted: dict[int, set[int]] = defaultdict(set)
        for row, nodes in place.values():
            wanted[id(row)].update(nodes)
        slot: dict[tuple[int, int], Tensor] = {}
        members = Counter(id(row) for row, _ in place.values())
        for batch in batches(sorted(rows, key=self._cost), self._cost, self._batch_tokens, lent=lambda row: row.past):
            for row, out in zip(batch, self._forward(batch), strict=True):
                nodes = sorted(wanted[id(row)])
                states = out.index_select(0, put(nodes, self.device))
                slot.update({(id(row), node): state for node, state in zip(nodes, states, strict=True)})
            tell(sum(members[id(row)] for row in batch))
        return {i: [slot[id(row), node] for node in nodes] for i, (row, nodes) in place.items()}

    def _forward(self, rows: list[Row]) -> Float[Tensor, "rows tokens hidden"]:
        width = max(len(row.nodes) for row in rows)
        past = max(row.past for row in rows)
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
        mask = torch.zeros(seen.shape, dtype=self.dtype).masked_fill_(~seen, torch.finfo(self.dtype).min)
        states = self.states(
            input_ids=put(ids, self.device), attention_mask=put(mask[:, None], self.device),
            position_ids=put(positions, self.device), use_cache=True,
            past_key_values=kept.lent([row.prefix for row in rows], past),
        )  # fmt: skip
        self.tokens_run += sum(len(row.nodes) for row in rows)
        return states

    def _prefixes(self, batch: Sequence[Sequence[int]]) -> list[Kept]:
        ids, mask = padded(batch, self.device)
        cache = DynamicCache()
        self.states(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True)
        self.tokens_run += sum(map(len, batch))
        found = kept.taken_apart(cache, batch)
        self.token_bytes = found[0].bytes // len(found[0].ids)
        return found

    def _padded(self, sequences: list[list[int]], points: list[list[int]], tell: _Tell = _quiet) -> States:
        """By sequences of like length, filled up on the right: no earlier position looks there."""
        result: States = [[] for _ in sequences]
        order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
        for batch in batches(order, lambda i: len(sequences[i]), self._batch_tokens):
            ids, mask = padded([sequences[i] for i in batch], self.device)
            hidden = self.states(input_ids=ids, attention_mask=mask, use_cache=False)
            self.tokens_run += sum(len(sequences[i]) for i in batch)
            for k, i in enumerate(batch):
                result[i] = [hidden[k, p] for p in points[i]]
            tell(len(batch))
        return result

    def _alone(self, sequences: list[list[int]], points: list[list[int]], tell: _Tell = _quiet) -> States:
        """Each by the model's own forward, on nothing else."""
        result = []
        for ids, own in zip(sequences, points, strict=True):
            hidden = self._own(ids)
            result.append([hidden[p] for p in own])
            self.tokens_run += len(ids)
            tell(1)
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
        first = len(sequences[0])
        start = max(1, first // 3, first - APART)
        (prefix,) = self._prefixes([sequences[0][:start]])
        rows = [Row(prefix)]
        paths = [rows[0].add(ids, start) for ids in sequences]
        if first == FIRST:  # a window that counts places in memory instead of positions shows here
            far = min(2 * _ROW_TOKENS, self.context_length or 2 * _ROW_TOKENS) - FIRST
            layers = [
                (k[:, :1].expand(-1, max(1, far), -1), v[:, :1].expand(-1, max(1, far), -1)) for k, v in prefix.layers
            ]
            rows.append(Row(Kept([0] * max(1, far), layers)))
            rows[1].add([0], 0)
        states = self._forward(rows)[0]
        return [[states[path[p - start]] for p in own if p >= start] for path, own in zip(paths, points, strict=True)]

    def _cost(self, row: Row) -> int:
        # A pass on a GPU is long, so what it copies of the kept keys and values counts, too.
        kept = 0 if self.device.type == "cpu" or row.prefix is None else len(row.prefix.ids) // 4
        return len(row.nodes) + kept

    def _forget(self, prefix: Sequence[int]) -> None:
        """Give up what ``keep`` held for a prefix; what others hold of it stays."""
        path = [self._kept]
        for token in prefix:
            path.append(path[-1][token])
        own = path[-1][-1]
        self._room.give(self, own.bytes)
        for at in range(len(prefix), 0, -1):
            if path[at][-1] is not own:
                break
            others = [token for token in path[at] if token != -1]
            if others:
                path[at][-1] = path[at][others[0]][-1]
            else:
                del path[at - 1][prefix[at - 1]]

    def _longest(self, ids: Sequence[int]) -> tuple[Kept | None, int]:
        branch, match = self._kept, 0
        for token in ids:
            if token not in branch:
                break
            branch, match = branch[token], match + 1
        return branch.get(-1), match

"""The tree of prompt prefixes seen so far: each goes through the frozen LM once for as long as it is held."""

import itertools
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.lms.placing import put
from hardprompt.lms.policy import PolicyLM
from hardprompt.optimizers.drawing import Ids
from hardprompt.search.files import Past

_ROWS = 16  # of one product with the vocabulary, always: its bits depend on its size
_BLOCK = 4096  # states


@dataclass(frozen=True)
class Actions:
    """What may follow a prefix: the tokens that the filter F_I keeps, and their log-probability under the LM.

    Both lie where the LM is.
    """

    ids: Int[Tensor, " k"]
    log_p: Float[Tensor, " k"]  # renormalised over the tokens that may be proposed at this place


@dataclass(kw_only=True, eq=False)
class PrefixTree:
    """Hidden states and filters of prefixes, computed on first use and kept within a budget, the latest longest.

    The states are part of ``state_dict``: they were computed in batches whose make-up a resumed run would not
    repeat, and floating-point sums depend on it. Logits may depend on the row of the product that they were computed
    in, but not on its other rows: its size is fixed and a state's number gives the row, so filters are computed again.

    Raises:
        InputError: k below 1 or above the vocabulary.

    Source: PIN section 4.2, the operator F_I.
    """

    policy: PolicyLM  # frozen
    top_k: int | None  # k of the filter of ignorable tokens; None keeps every token that may be proposed
    states_kept: int = 65_536  # prefixes whose state stays in memory; the oldest are run again when needed
    tokens_kept: int = 40_000_000  # tokens of the filters in memory; the least recently used are computed again
    blocked_kept: int = 100_000  # blocked prompts that stay so, or up to twice as many; older ones may come up again

    def __post_init__(self) -> None:
        size, masks = self.policy.vocabulary_size, (self.policy.opens, self.policy.follows)
        if self.top_k is not None and not 1 <= self.top_k <= size:
            raise InputError(f"top_k is {self.top_k}; it must lie between 1 and the vocabulary's {size} tokens.")
        self._allowed = [put(mask, self.policy.device) for mask in masks]  # by "is there a prefix"
        self._every = [put(mask.nonzero()[:, 0], self.policy.device) for mask in masks]
        # States lie in blocks that are filled once and dropped whole, each with a log of what it was filled with.
        self._block_size = max(1, min(_BLOCK, self.states_kept // 4))
        self._blocks: dict[int, Float[Tensor, "rows hidden"]] = {}
        self._logs: dict[int, list[Any]] = {}  # prefixes and their states, as they came
        self._number: dict[Ids, int] = {}  # of each state, counted from the first ever; in that order
        self._next = 0
        self._actions: OrderedDict[Ids, Actions] = OrderedDict()
        self._tokens = 0
        self._blocked: dict[Ids, set[int]] = {}
        self._blocked_log: list[list[int]] = []

    def __len__(self) -> int:
        return len(self._number)

    def states(self, prefixes: Sequence[Ids]) -> Float[Tensor, "n hidden"]:
        """e_t of each prefix; those that are not held go through the LM together."""
        new = sorted({p for p in prefixes if p not in self._number})
        if new:
            self._store(new, self.policy.states(new))
        numbers = torch.tensor([self._number[p] for p in prefixes], dtype=torch.int64)
        blocks = numbers // self._block_size
        out = torch.empty(len(prefixes), self.policy.hidden_size, device=self.policy.device)
        for block in blocks.unique().tolist():
            here = (blocks == block).nonzero()[:, 0]
            rows = put(numbers[here] % self._block_size, out.device)
            out.index_copy_(0, put(here, out.device), self._blocks[block].index_select(0, rows))
        while len(self._number) > self.states_kept:
            self._drop_oldest()
        return out

    def actions(self, prefix: Ids) -> Actions:
        """The tokens that may follow ``prefix``; blocked ones are left out."""
        return self.actions_of([prefix])[0]

    def actions_of(self, prefixes: Sequence[Ids]) -> list[Actions]:
        """``actions`` of each prefix; those that are not held share the product with the vocabulary."""
        known: dict[Ids, Actions] = {}
        for prefix in dict.fromkeys(prefixes):
            if prefix in self._actions:
                self._actions.move_to_end(prefix)
                known[prefix] = self._actions[prefix]
        missing = [p for p in dict.fromkeys(prefixes) if p not in known]
        if missing:
            self.states(missing)  # all together, whichever filters are held
        for batch in self._batches(missing):
            known.update(self._filter(batch))
        while self._tokens > self.tokens_kept and self._actions:
            self._forget(next(iter(self._actions)))
        return [known[p] for p in prefixes]

    def block(self, prompt: Ids) -> None:
        """Never propose ``prompt`` again, nor a prefix that is left without any action.

        Raises:
            InputError: nothing at all is left to propose.
        """
        if not prompt:
            raise InputError("no prompt of this length survives being decoded and tokenised again.")
        parent, token = prompt[:-1], prompt[-1]
        if token not in self._blocked.setdefault(parent, set()):
            self._blocked[parent].add(token)
            self._blocked_log.append([*prompt])
        if parent in self._actions:
            known = self._actions[parent]
            keep = known.ids != token
            self._tokens -= len(known.ids) - int(keep.sum())
            self._actions[parent] = Actions(known.ids[keep], known.log_p[keep])
        if len(self.actions(parent).ids) == 0:
            self.block(parent)
        if len(self._blocked_log) > 2 * self.blocked_kept:
            self._unblock_oldest()

    def state_dict(self) -> dict[str, Any]:
        """Of each block its prefixes with their states, in order of discovery, and what is blocked."""
        return {
            "blocks": {str(k): Past(log) for k, log in self._logs.items()},
            "next": self._next,
            "blocked": Past(self._blocked_log),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned for a tree of the same budget."""
        self._number, self._blocks, self._logs = {}, {}, {}
        for k in sorted(map(int, state["blocks"])):
            self._next = k * self._block_size
            for prefixes, states in state["blocks"][str(k)]:
                self._store([tuple(prefix) for prefix in prefixes], states)
        self._next = int(state["next"])
        self._blocked, self._blocked_log = {}, [list(blocked) for blocked in state["blocked"]]
        for *parent, token in self._blocked_log:
            self._blocked.setdefault(tuple(parent), set()).add(token)
        self._actions.clear()
        self._tokens = 0

    def _store(self, prefixes: Sequence[Ids], states: Float[Tensor, "n hidden"]) -> None:
        done = 0
        while done < len(prefixes):
            block, row = divmod(self._next, self._block_size)
            if block not in self._blocks:
                empty = torch.zeros(self._block_size, self.policy.hidden_size, device=self.policy.device)
                self._blocks[block], self._logs[block] = empty, []
            here = prefixes[done : done + self._block_size - row]
            rows = self._blocks[block][row : row + len(here)]  # written here and never again
            rows.copy_(states[done : done + len(here)])
            self._logs[block].append([[list(prefix) for prefix in here], rows])
            self._number.update(zip(here, range(self._next, self._next + len(here)), strict=True))
            self._next += len(here)
            done += len(here)

    def _drop_oldest(self) -> None:
        oldest = next(iter(self._blocks))
        end = (oldest + 1) * self._block_size
        for prefix in list(itertools.takewhile(lambda p: self._number[p] < end, self._number)):
            del self._number[prefix]
            # A state that is run again may differ in its last bit, so a filter of the old one must not outlive it.
            if prefix in self._actions:
                self._forget(prefix)
        del self._blocks[oldest], self._logs[oldest]

    def _unblock_oldest(self) -> None:
        gone, self._blocked_log = self._blocked_log[: -self.blocked_kept], self._blocked_log[-self.blocked_kept :]
        for *prefix, token in gone:
            parent = tuple(prefix)
            self._blocked[parent].remove(token)
            if not self._blocked[parent]:
                del self._blocked[parent]
            if parent in self._actions:
                self._forget(parent)

    def _forget(self, prefix: Ids) -> None:
        self._tokens -= len(self._actions.pop(prefix).ids)

    def _batches(self, prefixes: Sequence[Ids]) -> list[dict[int, Ids]]:
        """Parts of ``prefixes`` by row of the product."""
        batches: list[dict[int, Ids]] = []
        for prefix in prefixes:
            row = self._number.get(prefix, 0) % _ROWS
            batch = next((b for b in batches if row not in b), None)
            if batch is None:
                batches.append(batch := {})
            batch[row] = prefix
        return batches

    def _filter(self, batch: dict[int, Ids]) -> dict[Ids, Actions]:
        rows, prefixes = list(batch), list(batch.values())
        at = put(rows, self.policy.device)
        states = torch.zeros(_ROWS, self.policy.hidden_size, device=at.device).index_copy_(0, at, self.states(prefixes))
        allowed = torch.stack([self._allowed[bool(p)] for p in prefixes])
        log_p = self.policy.logits(states).index_select(0, at).masked_fill(~allowed, -torch.inf).log_softmax(-1)
        found = {}
        counts = [len(self._every[bool(p)]) for p in prefixes]
        top = None if self.top_k is None or self.top_k >= max(counts) else log_p.topk(self.top_k)
        for i, prefix in enumerate(prefixes):
            if top is not None and self.top_k is not None and self.top_k < counts[i]:
                actions = Actions(top.indices[i].int(), top.values[i].clone())
            else:  # nothing to leave out, so nothing to sort
                ids = self._every[bool(prefix)]
                actions = Actions(ids.int(), log_p[i, ids])
            if blocked := self._blocked.get(prefix):
                keep = ~torch.isin(actions.ids, put(sorted(blocked), actions.ids.device))
                actions = Actions(actions.ids[keep], actions.log_p[keep])
            found[prefix] = actions
            if prefix in self._number:  # not if it was dropped for the others' sake a moment ago
                self._actions[prefix] = actions
                self._tokens += len(actions.ids)
        return found


def proper_prefixes(prompts: Iterable[Ids]) -> list[Ids]:
    """Every proper prefix of every prompt, each once, in order of first appearance."""
    return list(dict.fromkeys(prompt[:t] for prompt in prompts for t in range(len(prompt))))

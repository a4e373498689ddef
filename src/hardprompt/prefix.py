"""The tree of prompt prefixes seen so far: each prefix goes through the frozen LM once, ever."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.policy import PolicyLM

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Actions:
    """What may follow a prefix: the tokens that the filter F_I keeps, and their log-probability under the LM."""

    ids: Int[Tensor, " k"]
    log_p: Float[Tensor, " k"]  # renormalised over the tokens that may be proposed at this place


class PrefixTree:
    """Hidden states and filters of prefixes, computed on first use and kept.

    The states are part of ``state_dict``: they were computed in batches whose make-up a resumed run would not
    repeat, and floating-point sums depend on it.

    Args:
        policy: the frozen LM.
        top_k: k of the filter of ignorable tokens; None keeps every token that may be proposed.
        actions_kept: prefixes whose filter stays in memory; the least recently used is recomputed when needed.

    Raises:
        InputError: k below 1 or above the vocabulary.

    Source: PIN section 4.2, the operator F_I.
    """

    def __init__(self, *, policy: PolicyLM, top_k: int | None, actions_kept: int = 4096) -> None:
        size = policy.vocabulary_size
        if top_k is not None and not 1 <= top_k <= size:
            raise InputError(f"top_k is {top_k}; it must lie between 1 and the vocabulary's {size} tokens.")
        self._policy = policy
        self._top_k = top_k
        self._states: dict[Ids, Tensor] = {}
        self._actions: OrderedDict[Ids, Actions] = OrderedDict()
        self._actions_kept = actions_kept
        self._blocked: dict[Ids, set[int]] = {}

    def __len__(self) -> int:
        return len(self._states)

    def states(self, prefixes: Sequence[Ids]) -> Float[Tensor, "n hidden"]:
        """e_t of each prefix; those not seen before go through the LM together."""
        new = sorted({p for p in prefixes if p not in self._states})
        if new:
            for prefix, state in zip(new, self._policy.states(new), strict=True):
                self._states[prefix] = state
        return torch.stack([self._states[p] for p in prefixes])

    def actions(self, prefix: Ids) -> Actions:
        """The tokens that may follow ``prefix``; blocked ones are left out."""
        known = self._actions.get(prefix)
        if known is not None:
            self._actions.move_to_end(prefix)
            return known
        logits = self._policy.logits(self.states([prefix])[0])
        allowed = self._policy.follows if prefix else self._policy.opens
        logits = logits.masked_fill(~allowed, -torch.inf)
        log_p = logits.log_softmax(-1)
        if self._top_k is not None and self._top_k < int(allowed.sum()):
            log_p, ids = log_p.topk(self._top_k)
        else:  # nothing to leave out, so nothing to sort
            ids = allowed.nonzero()[:, 0]
            log_p = log_p[ids]
        blocked = self._blocked.get(prefix)
        if blocked:
            keep = ~torch.isin(ids, torch.tensor(sorted(blocked)))
            ids, log_p = ids[keep], log_p[keep]
        actions = self._actions[prefix] = Actions(ids, log_p)
        if len(self._actions) > self._actions_kept:
            self._actions.popitem(last=False)
        return actions

    def block(self, prompt: Ids) -> None:
        """Never propose ``prompt`` again, nor a prefix that is left without any action.

        Raises:
            InputError: nothing at all is left to propose.
        """
        if not prompt:
            raise InputError("no prompt of this length survives being decoded and tokenised again.")
        parent, token = prompt[:-1], prompt[-1]
        self._blocked.setdefault(parent, set()).add(token)
        self._actions.pop(parent, None)
        if len(self.actions(parent).ids) == 0:
            self.block(parent)

    def state_dict(self) -> dict[str, Any]:
        """Prefixes with their states, in order of discovery, and what is blocked."""
        return {
            "prefixes": [list(p) for p in self._states],
            "states": torch.stack(list(self._states.values())) if self._states else torch.zeros(0),
            "blocked": [[*p, t] for p, tokens in self._blocked.items() for t in sorted(tokens)],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._states = {tuple(p): s for p, s in zip(state["prefixes"], state["states"], strict=True)}
        self._blocked = {}
        for blocked in state["blocked"]:
            self._blocked.setdefault(tuple(blocked[:-1]), set()).add(blocked[-1])
        self._actions.clear()


def proper_prefixes(prompts: Iterable[Ids]) -> list[Ids]:
    """Every proper prefix of every prompt, each once, in order of first appearance."""
    return list(dict.fromkeys(prompt[:t] for prompt in prompts for t in range(len(prompt))))

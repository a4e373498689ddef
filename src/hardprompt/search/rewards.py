"""What scores prompts, item by item, and the wrappers that make it cheaper or steadier: a Reward over a Reward."""

import itertools
import random
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hardprompt.errors import InputError, RewardError
from hardprompt.search.files import Past
from hardprompt.search.work import TRAIN, Work

_VALUES = 20_000_000  # numbers that a memory holds
_TOLD = 4096  # prompts that tell what prompts are like
_LINE = 1000  # prompts of one entry of a log that is written anew


@runtime_checkable
class Reward(Protocol):
    """Scores prompts: higher is better, finite, one number per prompt, in order."""

    def __call__(self, prompts: list[str]) -> Float[Tensor, " n"]:
        """One finite number per prompt."""


@runtime_checkable
class ItemReward(Reward, Protocol):
    """A Reward that is made of scores on items, such as texts: calling it aggregates the scores on all of them.

    The score of a pair is one number, or several of a shape that is the same for all, and depends on no other pair;
    what does, such as calibration, belongs to ``aggregate``.
    """

    @property
    def items(self) -> int:
        """How many there are; what one evaluation is, in pairs."""

    def score(self, prompts: Sequence[str], items: Sequence[int] | None = None) -> Float[Tensor, "n items *values"]:
        """The score of each prompt on each item, or on those numbered."""

    def aggregate(
        self, scores: Float[Tensor, "n items *values"], items: Sequence[int] | None = None, /
    ) -> Float[Tensor, " n"]:
        """A number for each prompt from its scores on all items, or on those numbered."""


@runtime_checkable
class GroupedReward(ItemReward, Protocol):
    """An ItemReward that says how its work is cut: what is scored of a group is kept when a run is stopped."""

    def groups(self, prompts: Sequence[str], items: Sequence[int]) -> list[list[int]]:
        """The items in groups, each work of seconds, which follow from prompts and items alone."""


@runtime_checkable
class Memoised(Reward, Protocol):
    """A Reward that remembers: what it knows is part of a checkpoint."""

    @property
    def hits(self) -> int:
        """Prompts that cost nothing."""

    @property
    def scored(self) -> int:
        """Prompts that the reward behind was asked about."""

    def recall(self, prompt: str) -> float | None:
        """The reward of a prompt by what is remembered of it, or None."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that an exact resume needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""


class Cached:
    """Never scores a prompt on an item twice; what it knows is part of a checkpoint.

    Args:
        reward: the reward to ask about what is new.
        kept: prompts remembered, fewer where that would be more than 20 million numbers; the oldest is forgotten first.
        work: has what is asked for made group by group.
    """

    def __init__(self, reward: Reward | ItemReward, *, kept: int = 200_000, work: Work | None = None) -> None:
        self._reward = reward
        self._work = Work() if work is None else work
        self.items = reward.items if isinstance(reward, ItemReward) else 1  # a number for a whole prompt is one item
        self._kept = kept
        self._known: dict[str, Tensor] = {}  # NaN where nothing is known
        self._log: list[Any] = []  # what was learned, as prompts, items (None: all) and scores, or how many forgotten
        self._forgotten = 0  # of the log's prompts
        self.hits = 0
        self.scored = 0

    def __call__(self, prompts: list[str]) -> Float[Tensor, " n"]:
        """The rewards, of new prompts by the reward behind and of known ones from memory."""
        return self.aggregate(self.score(prompts))

    def score(self, prompts: Sequence[str], items: Sequence[int] | None = None) -> Float[Tensor, "n items *values"]:
        """The scores, of new pairs by the reward behind and of known ones from memory, float64.

        Raises:
            RewardError: the reward behind returned another number of values.
        """
        at = torch.tensor(range(self.items) if items is None else list(items), dtype=torch.long)
        rows, groups = dict[str, Tensor](), dict[tuple[int, ...], list[str]]()
        for prompt in dict.fromkeys(prompts):
            known = self._known.get(prompt)
            missing = at if known is None else at[~_known(known)[at]]
            if known is not None:
                rows[prompt] = known
            if len(missing):
                groups.setdefault(tuple(sorted(set(missing.tolist()))), []).append(prompt)
        asked = sum(map(len, groups.values()))
        self.hits += len(prompts) - asked
        self.scored += asked
        for missing_at, group in groups.items():
            found = self._ask(group, missing_at)
            for prompt, fresh in zip(group, found, strict=True):
                rows[prompt] = self._with(rows.get(prompt), missing_at, fresh)
            finite = found.isfinite().flatten(1).all(-1)  # what is not is handed on, for the engine to name
            if not bool(finite.all()):
                group, found = [p for p, good in zip(group, finite.tolist(), strict=True) if good], found[finite]
            if group:
                self._known.update((prompt, rows[prompt]) for prompt in group)
                self._log.append([group, None if len(missing_at) == self.items else list(missing_at), found])
        scores = torch.stack([rows[prompt][at] for prompt in prompts]) if prompts else torch.zeros(0, len(at)).double()
        if (surplus := len(self._known) - self._room()) > 0:
            self._forget(surplus)
            self._log.append(surplus)
            if self._forgotten > self._room():
                self._begin_log()
        return scores

    def aggregate(
        self, scores: Float[Tensor, "n items *values"], items: Sequence[int] | None = None
    ) -> Float[Tensor, " n"]:
        """As the reward behind."""
        return self._reward.aggregate(scores, items) if isinstance(self._reward, ItemReward) else scores[:, 0]

    def recall(self, prompt: str) -> float | None:
        """The reward of a prompt on the items that it is known on, or None."""
        row = self._known.get(prompt)
        if row is None:
            return None
        at = _known(row)
        return float(self.aggregate(row[at][None], None if bool(at.all()) else at.nonzero()[:, 0].tolist()))

    def complete(self) -> Float[Tensor, "n items *values"] | None:
        """The scores of prompts that are known on all items, the latest ones; None where there are none."""
        rows = [row for row in list(self._known.values())[-_TOLD:] if bool(_known(row).all())]
        return torch.stack(rows) if rows else None

    def __len__(self) -> int:
        return len(self._known)

    def state_dict(self) -> dict[str, Any]:
        """Every pair scored so far, in the order in which it was learned and forgotten."""
        return {"pairs": Past(self._log), "hits": self.hits, "scored": self.scored}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._known, self._log, self._forgotten = {}, list(state["pairs"]), 0
        for entry in self._log:
            if isinstance(entry, int):
                self._forget(entry)
                continue
            prompts, at, scores = entry
            for prompt, fresh in zip(prompts, scores, strict=True):
                self._known[prompt] = self._with(
                    self._known.get(prompt), range(self.items) if at is None else at, fresh
                )
        self.hits, self.scored = int(state["hits"]), int(state["scored"])

    def _forget(self, count: int) -> None:
        for prompt in list(itertools.islice(self._known, count)):
            del self._known[prompt]
        self._forgotten += count

    def _begin_log(self) -> None:
        """A log of what is known and no more; NaN stands where nothing is known of a prompt on an item."""
        names = list(self._known)
        parts = [names[i : i + _LINE] for i in range(0, len(names), _LINE)]
        self._log = [[part, None, torch.stack([self._known[name] for name in part])] for part in parts]
        self._forgotten = 0

    def _room(self) -> int:
        """Prompts that are remembered."""
        each = next(iter(self._known.values())).numel() if self._known else 1
        return max(1, min(self._kept, _VALUES // each))

    def _with(
        self, row: Float[Tensor, "items *values"] | None, at: Sequence[int], fresh: Float[Tensor, "k *values"]
    ) -> Float[Tensor, "items *values"]:
        """A row with new scores on some items; with new ones on all it is these."""
        if len(at) == self.items:
            return fresh
        row = fresh.new_full((self.items, *fresh.shape[1:]), torch.nan) if row is None else row.clone()
        row[list(at)] = fresh
        return row

    def _ask(self, prompts: list[str], items: tuple[int, ...]) -> Float[Tensor, "n items *values"]:
        reward = self._reward
        if not isinstance(reward, ItemReward):  # somebody's code, which is not stopped in the middle
            (found,) = self._work.each(
                TRAIN, prompts, [items], lambda _: _numbers(reward(prompts), (len(prompts),))[:, None], whole=True
            )
            return found
        cut = reward.groups(prompts, items) if isinstance(reward, GroupedReward) else [items]

        def made(group: list[int]) -> Float[Tensor, "n group *values"]:
            found = torch.as_tensor(reward.score(prompts, None if len(group) == self.items else group))
            return _numbers(found, (len(prompts), len(group), *found.shape[2:]))

        return torch.cat(self._work.each(TRAIN, prompts, cut, made), dim=1)


def _numbers(found: Any, expected: tuple[int, ...]) -> Tensor:
    """What a reward returned as numbers of our own, where it has the shape that was expected."""
    numbers = torch.as_tensor(found)
    if numbers.shape != expected:
        raise RewardError(f"the reward returned shape {tuple(numbers.shape)} for {expected[0]} prompts.")
    return numbers.double().cpu().clone()


def _known(row: Float[Tensor, "items *values"]) -> Bool[Tensor, " items"]:
    """Which items a prompt was scored on."""
    return ~row.flatten(1)[:, 0].isnan() if row.ndim > 1 else ~row.isnan()


class PerStep:
    """A reward that is taken on items drawn anew for each call, which is a step of a search.

    Args:
        reward: scores prompts on items.
        per_step: items of a step.
        zscore: normalise the scores of each item over the prompts of the step, as RLPrompt does, so that an easy one
            does not outweigh a hard one.
        seed: of the drawing.

    Raises:
        InputError: more items than there are, or none.
    """

    def __init__(self, reward: Cached, *, per_step: int, zscore: bool = False, seed: int = 0) -> None:
        if not 1 <= per_step <= reward.items:
            raise InputError(f"per_step is {per_step}; it must lie between 1 and the {reward.items} items there are.")
        self._reward, self._per_step, self._zscore = reward, per_step, zscore
        self._generator = random.Random(seed)

    def __call__(self, prompts: list[str]) -> Float[Tensor, " n"]:
        """The reward of each prompt on the step's items, float64."""
        at = sorted(self._generator.sample(range(self._reward.items), self._per_step))
        scores = self._reward.score(prompts, at)
        if self._zscore:
            if scores.ndim > 2:
                raise InputError("zscore is of rewards whose score of an item is one number.")
            scores = (scores - scores.mean(0)) / (scores.std(0, correction=0) + 1e-4)
        return self._reward.aggregate(scores, at)

    @property
    def hits(self) -> int:
        """Prompts that cost nothing."""
        return self._reward.hits

    @property
    def scored(self) -> int:
        """Prompts that were not known on every item of their step."""
        return self._reward.scored

    def recall(self, prompt: str) -> float | None:
        """The reward of a prompt on the items that it met, not normalised, or None."""
        return self._reward.recall(prompt)

    def state_dict(self) -> dict[str, Any]:
        """What is known of every prompt, and the generator."""
        version, state, gauss = self._generator.getstate()
        return {"reward": self._reward.state_dict(), "generator": [version, list(state), gauss]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._reward.load_state_dict(state["reward"])
        version, numbers, gauss = state["generator"]
        self._generator.setstate((version, tuple(numbers), gauss))

"""What the runs of a comparison can tell: intervals, paired tests, ranks and the Pareto front."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.stats import rankdata, sem

from hardprompt.errors import InputError
from hardprompt.tasks.intervals import RESAMPLES, percentiles

_PARTS = 20  # in which resamples are worked on, to hold few of them as large numbers
_HAIR = 1e-3  # what a score may differ from the mean of its items, relative to 1 and to itself: both may be rounded
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Outcome:
    """One finished cell of a comparison.

    ``split`` is empty where there is one only, or where the method does not depend on it: such a run stands for every
    split. ``items`` are in the order that all runs on this data set share, whatever their split, method and seed.
    """

    data: str  # name of the data set
    split: str  # name of the training data
    method: str  # as the tables call it
    seed: int  # of the search
    prompt: str | None  # what was found; None where that is no text
    score: float  # the task's headline figure on the test set (accuracy, J, cosine, reward); higher is better
    items: tuple[float, ...] | None  # the same figure per test item; None where the task has none
    perplexity: float | None  # of the prompt, at least 1; None where it has none
    evaluations: int  # of the training reward, by the search
    passes: int  # gradient passes among them
    seconds: float  # that the search took
    curve: tuple[tuple[int, float], ...]  # evaluations so far, best training reward so far, in the search's order
    sown: bool = True  # whether the search depends on its seed; one run of a method that does not stands for all seeds


@dataclass(frozen=True)
class Difference:
    """One method minus another over the runs that can be paired."""

    value: float  # mean over data sets of the mean over pairs, in units of the score
    interval: tuple[float, float] | None  # 95 %, low and high; None where nothing can be resampled
    p: float | None  # two-sided; None where nothing can be resampled
    pairs: int  # how many there are
    data: tuple[str, ...]  # the data sets that have pairs


def check(outcomes: Sequence[Outcome]) -> None:
    """Raise an InputError where outcomes cannot stand in one comparison.

    Raises:
        InputError: there are none, a cell comes twice, a figure cannot be, or runs on one data set differ in items.
    """
    if not outcomes:
        raise InputError("there are no outcomes to compare; at least one is expected.")
    twice = [name for name, times in Counter(map(_name, outcomes)).items() if times > 1]
    if twice:
        raise InputError(f"{twice[0]} comes twice; one outcome per data set, split, method and seed is expected.")
    for run in outcomes:
        name = _name(run)
        if not math.isfinite(run.score):
            raise InputError(f"the score of {name} is {run.score}; a finite number is expected.")
        if run.perplexity is not None and not 0 < run.perplexity < math.inf:
            raise InputError(f"the perplexity of {name} is {run.perplexity}; a positive number or None is expected.")
    for runs in by_data(outcomes).values():
        if itemised := [run for run in runs if run.items is not None]:
            _figures(itemised)


def by_data(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """The outcomes of each data set, in the order in which they come."""
    return _grouped(outcomes, lambda run: run.data)


def by_method(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """The outcomes of each method, in the order in which they come."""
    return _grouped(outcomes, lambda run: run.method)


def interval(runs: Sequence[Outcome]) -> tuple[float, float] | None:
    """95 % percentile bootstrap interval of a method's mean over data sets of the mean over runs.

    Drawn anew, with replacement and within each data set: the splits, each with all of its runs, since those share
    their training data (where all runs are of one split, the runs); and, where they have them, the test items, the
    same ones for all runs. The interval is too wide where the noise of the items prevails, and too narrow where that
    of few splits does: of 5 it then covers some 84 %, of 3 some 75 %.

    Args:
        runs: of one method, on one data set or more.

    Returns:
        Low and high; None where there are no runs, or a data set has a single one and no items.

    Raises:
        InputError: items that differ in number, or are not those of the score.

    Source: Efron & Tibshirani 1993, ch. 13; both levels at once: Owen 2007, the pigeonhole bootstrap; whole splits:
        Davison & Hinkley 1997, 3.8.
    """
    draws = _mean_draws({d: (_figures(own), _units([run.split for run in own])) for d, own in by_data(runs).items()})
    return None if draws is None else percentiles(draws)


def standard_error(scores: Sequence[float]) -> float | None:
    """The standard deviation over sqrt(n) of n runs, with n - 1 below; None for a single run."""
    return float(sem(scores)) if len(scores) > 1 else None


def pairs(one: Sequence[Outcome], other: Sequence[Outcome]) -> list[tuple[Outcome, Outcome]]:
    """The runs of one method and of another that can be compared: of the same data set, split and seed.

    A run that is not sown stands for each of the other's seeds, and so do runs that name no split, where a method has
    no others on a data set, for each of the other's splits.
    """
    found = []
    others = by_data(other)
    for data, runs in by_data(one).items():
        left, right = _stand_in(_by_split(runs), _by_split(others.get(data, [])), "")
        for split in left:
            a, b = _stand_in(left[split], right.get(split, {}), None)
            found += [(a[seed], b[seed]) for seed in a if seed in b]
    return found


def paired(one: Sequence[Outcome], other: Sequence[Outcome]) -> Difference | None:
    """One method minus another on the same test items, with its interval and a two-sided p-value.

    The differences of the pairs are resampled as in ``interval``; with B resamples d*,
    p = 2 min(#{d* ≤ 0} + 1, #{d* ≥ 0} + 1) / (B + 1), at most 1; it errs as the interval does. A run that stands for
    several seeds or splits is not resampled, as befits a method that does not depend on them. Without items p cannot
    go below 2^(1 - n), as in a sign test, n being the number of splits or, where a data set has but one, of pairs: two
    or three that agree by chance would otherwise count as proof. Items are compared only where both have them.

    Returns:
        None where no run of the one can be paired with any of the other.

    Raises:
        InputError: items that differ in number, or are not those of the score.

    Source: Davison & Hinkley 1997, 4.2 (the +1) and 5.3; Efron & Tibshirani 1993, 15.4.
    """
    matched = pairs(one, other)
    if not matched:
        return None
    tables: dict[str, tuple[NDArray[Any], list[int]]] = {}
    for data, both in by_data([run for pair in matched for run in pair]).items():
        figures, ones, others = _figures(both), both[::2], both[1::2]
        splits = [a.split or b.split for a, b in zip(ones, others, strict=True)]
        tables[data] = figures[::2] - figures[1::2], _units(splits)
    value = float(np.mean([table.mean() for table, _ in tables.values()]))
    draws = _mean_draws(tables)
    if draws is None:
        return Difference(value, None, None, len(matched), tuple(tables))
    draws = draws.round(12)  # sums that cancel are zero
    tail = min(np.sum(draws <= 0), np.sum(draws >= 0))
    count = sum(len(set(units)) for _, units in tables.values())
    floor = 2.0 ** (1 - count) if all(table.shape[1] == 1 for table, _ in tables.values()) else 0.0
    p = min(1.0, max(floor, 2.0 * float(tail + 1) / (len(draws) + 1)))
    return Difference(value, percentiles(draws), p, len(matched), tuple(tables))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Each p-value adjusted for their number; None is no test and does not count.

    Source: Holm 1979.
    """
    known = [p for p in p_values if p is not None]
    if not known:
        return list(p_values)
    from statsmodels.stats.multitest import multipletests  # only here: it takes a second to import

    adjusted = iter(multipletests(known, method="holm")[1].tolist())
    return [None if p is None else next(adjusted) for p in p_values]


def ranks(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Mean rank of each method over the data sets that all of them have: 1 is best, equals share their mean.

    Args:
        scores: by method and data set; higher is better.

    Returns:
        By method; empty where no data set is common to all.
    """
    shared = sorted(set.intersection(*map(set, scores.values()))) if scores else []
    if not shared:
        return {}
    # Rounded: means of the same figures in another order are equal.
    table = np.round([[row[data] for data in shared] for row in scores.values()], 12)
    return dict(zip(scores, rankdata(-table, axis=0).mean(1).tolist(), strict=True))


def pareto(points: Sequence[tuple[float, float | None]]) -> list[bool]:
    """Which points no other one beats in one respect while it equals or beats them in the other.

    Args:
        points: a score (higher is better) and a perplexity (lower is better) each; without one, or with one that is
            not finite, a point is never on the front and keeps nothing off it.
    """
    plane = [(s, math.inf if p is None else p) for s, p in points]
    return [math.isfinite(p) and not any(t >= s and q <= p and (t > s or q < p) for t, q in plane) for s, p in plane]


def _grouped(runs: Sequence[Outcome], key: Callable[[Outcome], str]) -> dict[str, list[Outcome]]:
    found: dict[str, list[Outcome]] = {}
    for run in runs:
        found.setdefault(key(run), []).append(run)
    return found


def _by_split(runs: Sequence[Outcome]) -> dict[str, dict[int | None, Outcome]]:
    """Runs on one data set by split and seed; None is the seed of a run that is not sown."""
    groups = _grouped(runs, lambda run: run.split)
    return {split: {run.seed if run.sown else None: run for run in own} for split, own in groups.items()}


def _stand_in(
    one: dict[_Key, _Value], other: dict[_Key, _Value], blank: _Key
) -> tuple[dict[_Key, _Value], dict[_Key, _Value]]:
    """Both, where one has nothing but a blank key with its value under each key of the other."""
    if set(one) == {blank}:
        one = dict.fromkeys(other, one[blank])
    if set(other) == {blank}:
        other = dict.fromkeys(one, other[blank])
    return one, other


def _units(splits: Sequence[str]) -> list[int]:
    """The number of what each run is resampled with: those of its split or, where all are of one, itself alone."""
    names = list(dict.fromkeys(splits))
    return list(range(len(splits))) if len(names) == 1 else [names.index(split) for split in splits]


def _figures(runs: Sequence[Outcome]) -> Float[NDArray[Any], "runs items"]:
    """The items of runs on one data set, row by row; their scores, one column, where a run has no items."""
    rows = [(run, run.items) for run in runs if run.items is not None]
    if len(rows) < len(runs):
        return np.array([[run.score] for run in runs], dtype=float)
    for run, items in rows:
        if not items or len(items) != len(rows[0][1]):
            other = f"{_name(rows[0][0])} on {len(rows[0][1])}; the same ones are expected on one data set"
            raise InputError(f"{_name(run)} was tested on {len(items)} items, {other}.")
        mean = math.fsum(items) / len(items)
        if not abs(mean - run.score) <= _HAIR * max(1.0, abs(run.score)):  # true of NaN, too
            raise InputError(f"the items of {_name(run)} have the mean {mean:g}; its score is {run.score:g}.")
    return np.array([items for _, items in rows], dtype=float).reshape(len(rows), len(rows[0][1]) if rows else 0)


def _mean_draws(tables: Mapping[str, tuple[NDArray[Any], list[int]]]) -> Float[NDArray[Any], " resamples"] | None:
    """Resampled means over data sets; None where a data set has but one number, which says nothing of its spread."""
    if not tables or any(table.size == 1 for table, _ in tables.values()):
        return None
    return np.asarray(np.mean([_draws(*own, data) for data, own in tables.items()], axis=0))


def _draws(table: Float[NDArray[Any], "runs items"], units: list[int], data: str) -> Float[NDArray[Any], " resamples"]:
    """Means of a table of whose rows whole units, and of whose columns each, are drawn anew, with replacement."""
    # One stream per data set: data sets are independent, and a result does not depend on their order.
    rng, items = np.random.default_rng([0, *data.encode()]), table.shape[1]
    member = np.eye(max(units) + 1)[units]  # (runs, units)
    drawn, sizes = _item_counts(data, items), member.sum(0)
    sums = np.concatenate([part.astype(float) @ (table.T @ member) for part in np.array_split(drawn, _PARTS)])
    weights = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=RESAMPLES)
    # Over the runs that were drawn: the mean over runs even where splits differ in how many they have.
    return np.asarray((weights * sums).sum(1) / (weights @ sizes * items))


@lru_cache(maxsize=16)  # every method and pair of methods needs it, and drawing it is nearly all of their work
def _item_counts(data: str, items: int) -> NDArray[np.uint8]:
    """How often each resample draws each test item of a data set, (resamples, items); 255 times is out of reach."""
    rng, equal = np.random.default_rng([1, *data.encode()]), np.full(items, 1 / items)
    return np.concatenate([
        rng.multinomial(items, equal, size=len(part)).astype(np.uint8)
        for part in np.array_split(np.arange(RESAMPLES), _PARTS)
    ])  # fmt: skip


def _name(run: Outcome) -> str:
    split = f", split {run.split!r}" if run.split else ""
    return f"{run.method!r} on {run.data!r}{split}, seed {run.seed}"

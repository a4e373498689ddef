"""The three sets of a run: which texts train, which choose, and which are touched once."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from hardprompt.data.tables import (
    Row,
    check_classes,
    check_missing,
    classes,
    drawn,
    few_shot,
    read_rows,
    say_left_out,
    split,
)
from hardprompt.errors import InputError, unknown
from hardprompt.tasks.classify.examples import check_examples

_LOG = logging.getLogger(__name__)

_VALIDATION_SHARE = 0.25  # of the training file, when no validation file is given
_TEST_SHARE = 0.3  # likewise for test


@dataclass(frozen=True)
class Splits:
    """The three sets of a run; no text or group of the test set stands in the others."""

    train: list[Row]
    validation: list[Row]
    test: list[Row]
    left_out: list[Row]  # what stands in the files and is in none of the three
    verbalizers: dict[str, str]  # those given, and for other classes their own name as a word of its own


def read_splits(
    *,
    train: str,
    validation: str | None = None,
    test: str | None = None,
    text: str,
    label: str,
    group: str | None = None,
    encoding: str | None = None,
    shots: int | None = None,
    train_rows: int | None = None,
    validation_rows: int | None = None,
    test_rows: int | None = None,
    drop_small_classes: bool = False,
    words: Mapping[str, str] = MappingProxyType({}),
    seed: int = 0,
    data_seed: int = 0,
) -> Splits:
    """Read the files of a classification and part what is not given separately.

    ``drop_small_classes`` leaves out, in every set, the classes that have too few rows to be in each part of ``train``;
    ``words`` are verbalizers, as many as there are classes, or none; ``seed`` draws the shots, ``data_seed`` parts. Of
    a set with more rows than it may have (None: as many as there are), some are drawn, the same ones for every seed;
    shots are not cut again.

    Raises:
        InputError: whatever is wrong with a file, a column, a class, a text or a word.
    """
    read: dict[str, list[Row]] = {}
    faults = []
    for path in dict.fromkeys(path for path in (train, validation, test) if path is not None):
        try:
            read[path] = read_rows(path, text=text, label=label, group=group, encoding=encoding)
        except InputError as error:
            faults.append(str(error))
    if faults:  # those of all files at once
        raise InputError(" ".join(faults))

    def parted(rows: list[Row], path: str | None, share: float) -> tuple[list[Row], list[Row]]:
        if path is None:
            return split(rows, share, seed=data_seed)
        return rows, [row for row in read[path] if row.label not in small]

    rows = read[train]
    parts = 1 + (test is None) + (validation is None)
    if parts > 1:
        check_classes(train, rows, text=text, label=label, encoding=encoding)
    small = _small(rows, max(parts, shots or 1)) if drop_small_classes else set()
    if small:
        _LOG.warning("left out as too small: the classes %s", ", ".join(sorted(small)))
        rows = [row for row in rows if row.label not in small]
        words = {name: word for name, word in words.items() if name not in small}
    check_missing(rows, words)
    names = classes(rows)
    strange = sorted(set(words) - set(names))
    if strange:
        raise unknown("class with a verbalizer", strange[0], names)
    missing = [name for name in names if words and name not in words]
    if missing:
        raise InputError(
            f"class {missing[0]!r} has no verbalizer; name one for each of: {', '.join(names)}, or for none."
        )
    rows, tested = parted(rows, test, _TEST_SHARE)
    rows, choosing = parted(rows, validation, _VALIDATION_SHARE)
    whole = len(rows) + len(choosing)
    rows, choosing = _without(rows, tested), _without(choosing, tested)
    if shared := whole - len(rows) - len(choosing):
        _LOG.warning("left out of training and validation: %d with a text or group of the test set", shared)
    common = len(rows) - len(_without(rows, choosing))
    if common:  # published few-shot splits do this: they are used as they are
        _LOG.warning(
            "%d of %d training rows stand in the validation set too: it shows less of overfitting", common, len(rows)
        )
    if shots is not None:
        rows, train_rows = few_shot(rows, shots, seed=seed), None
    for name, part in (("training", rows), ("validation", choosing)):
        if not {row.label for row in part} >= set(names):  # what it has beside them is said below
            raise InputError(f"the {name} set lacks a class; it needs some of each of: {', '.join(names)}.")
    for name, part in (("validation", choosing), ("test", tested)):
        for row in part:
            if row.label not in names:
                raise InputError(
                    f"{row.where}, of the {name} set, has class {row.label!r}, which the training set does not have; "
                    f"classes: {', '.join(names)}."
                )
    caps = {"train": train_rows, "validation": validation_rows, "test": test_rows}
    sets = dict(zip(caps, (rows, choosing, tested), strict=True))
    kept = {name: [part[i] for i in drawn([row.label for row in part], caps[name])] for name, part in sets.items()}
    say_left_out(train, {name: (len(kept[name]), len(part)) for name, part in sets.items()})
    rows, choosing, tested = kept.values()
    verbalizers = {name: words.get(name, f" {name}") for name in names}
    for part in (rows, choosing, tested):
        check_examples([row.example for row in part], verbalizers)
    taken = {id(row) for part in (rows, choosing, tested) for row in part}
    left_out = [row for part in read.values() for row in part if id(row) not in taken]
    return Splits(rows, choosing, tested, left_out, verbalizers)


def _small(rows: Sequence[Row], least: int) -> set[str]:
    """The classes with fewer than so many groups, or texts where there are none."""
    units: dict[str, set[tuple[bool, str]]] = defaultdict(set)
    for row in rows:
        units[row.label].add((False, row.text.strip()) if row.group is None else (True, row.group))
    return {label for label, found in units.items() if len(found) < least}


def _without(rows: list[Row], later: Sequence[Row]) -> list[Row]:
    """The rows whose text and group stand in no later set."""
    texts = {row.text.strip() for row in later}
    groups = {row.group for row in later if row.group is not None}
    return [row for row in rows if row.text.strip() not in texts and row.group not in groups]

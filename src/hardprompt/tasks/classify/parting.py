"""How the file to train on gives the sets that are not given, and which classes are too small for that."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from hardprompt.data.saying import say_once
from hardprompt.data.tables import Row, split
from hardprompt.errors import InputError

_VALIDATION_SHARE = 0.25  # of the training file, when no validation file is given
_TEST_SHARE = 0.3  # likewise for test
_NAMED = 10  # classes that a warning names


class Parted(NamedTuple):
    """Three sets; no text or group of the test set stands in the others."""

    train: list[Row]
    validation: list[Row]
    test: list[Row]
    shared: int  # rows that are in none, since the test set has their text or group


def parted(
    rows: list[Row], validation: list[Row] | None, test: list[Row] | None, *, seed: int, strict: bool = True
) -> Parted:
    """Take from ``rows`` the sets that are None; what is left trains.

    Raises:
        InputError: a class would be missing in what is taken or left, if ``strict``.
    """
    if test is None:
        rows, test = split(rows, _TEST_SHARE, seed=seed, strict=strict)
    if validation is None:
        rows, validation = split(rows, _VALIDATION_SHARE, seed=seed, strict=strict)
    train, choosing = without(rows, test), without(validation, test)
    return Parted(train, choosing, test, len(rows) - len(train) + len(validation) - len(choosing))


def too_small(
    path: str, rows: list[Row], validation: list[Row] | None, test: list[Row] | None, *, shots: int | None, seed: int
) -> set[str]:
    """The classes that ``parted`` would leave less of than a run needs; they are said.

    A class needs as many rows to train on as there are shots, or one, and one in each set that is taken from ``rows``.
    What stands in one group, or is one text, is not parted, so that is seen by parting.

    Args:
        path: of the rows.
        rows: to train on.
        validation: those given, or None.
        test: likewise.
        shots: of each class, if these are drawn.
        seed: as ``parted`` has it.

    Raises:
        InputError: fewer than two classes are left.
    """
    least, sizes = shots or 1, Counter(row.label for row in rows)
    taken = [place for place, own in ((1, validation), (2, test)) if own is None]
    units: dict[str, set[tuple[bool, str]]] = defaultdict(set)
    for row in rows:
        units[row.label].add((False, row.text.strip()) if row.group is None else (True, row.group))
    small = {label for label, found in units.items() if len(found) <= len(taken)}
    needs = f"each needs {least} to train on" + (" beside those that validate or test" if taken else "")
    while True:  # a class takes along what groups had kept together with it, so that others change too
        if len(sizes) - len(small) < 2:
            raise InputError(
                f"{path!r} has fewer than two classes when those too small are left out, {_named(small, sizes)}; "
                f"{needs}."
            )
        left = [None if own is None else others(own, small) for own in (validation, test)]
        found = parted(others(rows, small), *left, seed=seed, strict=False)
        parts = [Counter(row.label for row in own) for own in (found.train, found.validation, found.test)]
        short = {
            label for label in sizes.keys() - small
            if parts[0][label] < least or any(not parts[place][label] for place in taken)
        }  # fmt: skip
        if not short:
            break
        small |= short
    if small:
        say_once(f"left out of {path} as too small: the classes {_named(small, sizes)}; {needs}")
    return small


def others(rows: list[Row], small: set[str]) -> list[Row]:
    """The rows of other classes."""
    return [row for row in rows if row.label not in small]


def without(rows: list[Row], later: Sequence[Row]) -> list[Row]:
    """The rows whose text and group stand in no later set."""
    texts = {row.text.strip() for row in later}
    groups = {row.group for row in later if row.group is not None}
    return [row for row in rows if row.text.strip() not in texts and row.group not in groups]


def _named(small: set[str], sizes: Counter[str]) -> str:
    named = ", ".join(f"{name} ({sizes[name]})" for name in sorted(small)[:_NAMED])
    return named + (f" and {len(small) - _NAMED} more" if len(small) > _NAMED else "")

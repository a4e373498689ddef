"""What files spell in several ways is one class and one group: 1 and 1.0, true and True; what looks alike is said."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TypeVar

from hardprompt.data.saying import say_once
from hardprompt.data.tables import Row
from hardprompt.errors import InputError

_WHOLE = re.compile(r"-?(?:0|[1-9]\d*)(?:\.0+)?", re.ASCII)  # 01 may be a code, 1.10 a section or a version
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:e[+-]?\d+)?", re.ASCII)  # as JSON has it
_UNSEEN = re.compile("[\ufe00-\ufe0f]")  # of Unicode's invisible marks those that are not of category Cf
_NAMED = 5  # that a warning names
_BOOLEANS = {"false": Decimal(0), "true": Decimal(1)}  # and the numbers that other programs write for them

_T = TypeVar("_T")


def one_spelling(files: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
    """The rows of a run's files by path, with one spelling for each class, which is said, and for each group.

    Of a whole number it is the shortest, of true and false the first. Names that merely look alike are said.

    Raises:
        InputError: both ``true`` and 1 are classes, or ``false`` and 0, which are one in Python and two in JSON.
    """
    first: dict[str, Row] = {}
    for rows in files.values():
        for row in rows:
            first.setdefault(row.label, row)
    for name, row in first.items():
        number = _BOOLEANS.get(name.lower())
        other = next((one for one in first if number is not None and _value(one) == number), None)
        if other is not None:
            raise InputError(
                f"{row.where} has the class {name!r} and {first[other].where} has {other!r}: whether these are one "
                "class is not clear. Write one of the two everywhere."
            )
    labels = _chosen(first)
    for chosen in dict.fromkeys(labels.values()):
        several = sorted(name for name in labels if labels[name] == chosen)
        where = " and ".join(path for path, rows in files.items() if any(row.label in several for row in rows))
        say_once(
            f"the classes {' and '.join(map(repr, several))} of {where} are one value, and are taken as one class, "
            f"{chosen!r}"
        )
    groups = _chosen(dict.fromkeys(row.group for rows in files.values() for row in rows if row.group is not None))
    if labels or groups:
        files = {
            path: [
                replace(
                    row, label=labels.get(row.label, row.label), group=row.group and groups.get(row.group, row.group)
                )
                for row in rows
            ]
            for path, rows in files.items()
        }
    found = [row for rows in files.values() for row in rows]
    _say_alike("classes", (row.label for row in found))
    _say_alike("groups", (row.group for row in found if row.group is not None))
    return dict(files)


def as_spelt(given: Mapping[str, _T], names: Iterable[str], what: str) -> dict[str, _T]:
    """What a user gives for classes, each spelt as in ``names``; one that is no class keeps its name.

    Args:
        given: by class.
        names: the classes, as ``one_spelling`` has them.
        what: is given, for a message.

    Raises:
        InputError: two of ``given`` are one class.
    """
    by_value = {_value(name): name for name in names}
    found: dict[str, tuple[str, _T]] = {}
    for name, one in given.items():
        chosen = by_value.get(_value(name), name)
        if chosen in found:
            raise InputError(f"{what} {found[chosen][0]!r} and {name!r} are of one class, {chosen!r}; give one.")
        found[chosen] = name, one
    return {name: one for name, (_, one) in found.items()}


def _say_alike(what: str, names: Iterable[str]) -> None:
    """Say which names differ in nothing but case, spaces, invisible marks, or how a letter or number is written."""
    alike: dict[Hashable, list[str]] = defaultdict(list)
    for name in dict.fromkeys(names):
        alike[_looks(name)].append(name)
    found = [same for same in alike.values() if len(same) > 1]
    if found:
        shown = "; ".join(" and ".join(map(_told_apart(same), same)) for same in found[:_NAMED])
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        say_once(f"{what} that look alike are taken as different ones: {shown}{more}")


def _looks(name: str) -> Hashable:
    if _NUMBER.fullmatch(name.lower()):
        return Decimal(name)
    seen = "".join(c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) != "Cf")
    return " ".join(_UNSEEN.sub("", seen).casefold().split())


def _told_apart(names: list[str]) -> Callable[[str], str]:
    """How to write these names so that they differ."""
    return repr if len({unicodedata.normalize("NFC", name) for name in names}) == len(names) else ascii


def _chosen(names: Iterable[str]) -> dict[str, str]:
    """For each name that is not the only spelling of its value the one that stands for it."""
    spelt: dict[Hashable, list[str]] = defaultdict(list)
    for name in names:
        spelt[_value(name)].append(name)
    return {
        name: min(same, key=len) if isinstance(value, Decimal) else same[0]
        for value, same in spelt.items() if len(same) > 1 for name in same
    }  # fmt: skip


def _value(name: str) -> Hashable:
    if _WHOLE.fullmatch(name):
        return Decimal(name)
    return name.lower() if name.lower() in _BOOLEANS else name

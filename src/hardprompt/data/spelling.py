"""What files spell in several ways is one class and one group: 1 and 1.0, true and True."""

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace
from decimal import Decimal

from hardprompt.data.saying import say_once
from hardprompt.data.tables import Row
from hardprompt.errors import InputError

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?", re.ASCII)  # 01 may be a code, and is none
_BOOLEANS = {"false": Decimal(0), "true": Decimal(1)}  # and the numbers that other programs write for them


def one_spelling(files: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
    """The rows of a run's files by path, with one spelling for each class, which is said, and for each group.

    Of a number it is the shortest, of true and false the first.

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
    if not labels and not groups:
        return dict(files)
    return {
        path: [
            replace(row, label=labels.get(row.label, row.label), group=row.group and groups.get(row.group, row.group))
            for row in rows
        ]
        for path, rows in files.items()
    }


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
    if _NUMBER.fullmatch(name):
        return Decimal(name)
    return name.lower() if name.lower() in _BOOLEANS else name

"""The three sets of a run: which texts train, which choose, and which are touched once."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from hardprompt.data.naming import by_file
from hardprompt.data.saying import say_once
from hardprompt.data.spelling import as_spelt, one_spelling
from hardprompt.data.tables import (
    Row,
    check_classes,
    check_missing,
    classes,
    drawn,
    few_shot,
    read_rows,
    say_left_out,
)
from hardprompt.errors import InputError, unknown
from hardprompt.tasks.classify.examples import check_examples
from hardprompt.tasks.classify.parting import others, parted, too_small, without

_NAMED = 10  # classes that a message names


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

    ``drop_small_classes`` leaves out, in every set, the classes of which ``train`` has too few rows for the shots and
    for each set that is parted from it; ``words`` are verbalizers, as many as there are classes, or none; ``seed``
    draws the shots, ``data_seed`` parts. Of a set with more rows than it may have (None: as many as there are), some
    are drawn, the same ones for every seed; shots are not cut again.

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
    read = one_spelling(by_file(read))
    words = as_spelt(words, dict.fromkeys(row.label for own in read.values() for row in own), "the verbalizers of")

    rows = read[train]
    choosing, tested = (None if path is None else read[path] for path in (validation, test))
    given = choosing is not None and tested is not None
    if drop_small_classes:
        try:
            small = too_small(train, rows, choosing, tested, shots=shots, seed=data_seed)
        except InputError:
            if not given:  # an identifier is the likelier fault
                check_classes(train, rows, text=text, label=label, encoding=encoding)
            raise
        rows = others(rows, small)
        choosing, tested = (None if own is None else others(own, small) for own in (choosing, tested))
        words = {name: word for name, word in words.items() if name not in small}
    elif not given:
        check_classes(train, rows, text=text, label=label, encoding=encoding)
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
    rows, choosing, tested, shared = parted(rows, choosing, tested, seed=data_seed)
    if shared:
        say_once(
            f"{shared} of the rows for training and validation ({train}) have a text or a group of the test set and "
            "are left out"
        )
    common = len(rows) - len(without(rows, choosing))
    if common:  # published few-shot splits do this: they are used as they are
        say_once(
            f"{common} of {len(rows)} training rows of {train} stand in the validation set too, which then shows less "
            "of what a prompt is worth on other texts"
        )
    if shots is not None:
        rows, train_rows = few_shot(rows, shots, seed=seed), None
    for name, path, part in (("training", train, rows), ("validation", validation or train, choosing)):
        have = {row.label for row in part}
        if lacking := [repr(one) for one in names if one not in have]:  # what it has beside them is said below
            listed = ", ".join(lacking[:_NAMED]) + (", ..." if len(lacking) > _NAMED else "")
            taken_out = ", without the texts and groups of the test set," if shared else ""
            raise InputError(
                f"the {name} set, of {path!r}{taken_out} lacks the class{'es' * (len(lacking) > 1)} {listed}; it needs "
                "some rows of each."
            )
    for name, part in (("validation", choosing), ("test", tested)):
        for row in part:
            if row.label not in names:
                raise InputError(
                    f"{row.where}, of the {name} set, has class {row.label!r}, which the training set does not have; "
                    f"classes: {', '.join(names)}."
                )
    caps = {"train": train_rows, "validation": validation_rows, "test": test_rows}
    sets = dict(zip(caps, (rows, choosing, tested), strict=True))
    kept = {
        name: [part[i] for i in drawn([row.label for row in part], caps[name], name)] for name, part in sets.items()
    }
    say_left_out(train, {name: (len(kept[name]), len(part)) for name, part in sets.items()})
    rows, choosing, tested = kept.values()
    verbalizers = {name: words.get(name, f" {name}") for name in names}
    for part in (rows, choosing, tested):
        check_examples([row.example for row in part], verbalizers)
    taken = {id(row) for part in (rows, choosing, tested) for row in part}
    left_out = [row for part in read.values() for row in part if id(row) not in taken]
    return Splits(rows, choosing, tested, left_out, verbalizers)

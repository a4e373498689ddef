"""The three sets of a run: which texts train, which choose, and which are touched once."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from hardprompt.data.tables import Row, classes, few_shot, read_rows, split
from hardprompt.errors import InputError, unknown

_LOG = logging.getLogger(__name__)

_VALIDATION_SHARE = 0.25  # of the training file, when no validation file is given
_TEST_SHARE = 0.3  # likewise for test


@dataclass(frozen=True)
class Splits:
    """The three sets of a run; no text or group of the test set stands in the others."""

    train: list[Row]
    validation: list[Row]
    test: list[Row]
    classes: list[str]


def read_splits(
    *,
    train: str,
    validation: str | None = None,
    test: str | None = None,
    text: str,
    label: str,
    group: str | None = None,
    shots: int | None = None,
    words: Mapping[str, str] = MappingProxyType({}),
    seed: int = 0,
    data_seed: int = 0,
) -> Splits:
    """Read the files of a classification and part what is not given separately.

    Args:
        train: file of the training texts.
        validation: file of the texts that choose; None parts them from the training file.
        test: file of the test texts; None parts them from the training file.
        text: column of the texts.
        label: column of the classes.
        group: column whose rows stay in one set.
        shots: training texts of each class; None keeps all.
        words: verbalizers, of which there are as many as classes, or none.
        seed: of the draw of the shots.
        data_seed: of the parting.

    Raises:
        InputError: whatever is wrong with a file, a column or a class.
    """

    def read(path: str) -> list[Row]:
        return read_rows(path, text=text, label=label, group=group)

    rows = read(train)
    names = classes(rows)
    strange = sorted(set(words) - set(names))
    if strange:
        raise unknown("class with a verbalizer", strange[0], names)
    missing = [name for name in names if words and name not in words]
    if missing:
        raise InputError(
            f"class {missing[0]!r} has no verbalizer; name one for each of: {', '.join(names)}, or for none."
        )
    if test is not None:
        tested = read(test)
    else:
        rows, tested = split(rows, _TEST_SHARE, seed=data_seed)
    if validation is not None:
        choosing = read(validation)
    else:
        rows, choosing = split(rows, _VALIDATION_SHARE, seed=data_seed)
    choosing, shared = _without(choosing, tested)
    rows, more = _without(rows, tested)
    if shared + more:
        _LOG.warning("left out of training and validation: %d with a text or group of the test set", shared + more)
    common = len(rows) - len(_without(rows, choosing)[0])
    if common:  # published few-shot splits do this: they are used as they are
        _LOG.warning(
            "%d of %d training rows stand in the validation set too: it shows less of overfitting", common, len(rows)
        )
    if shots is not None:
        rows = few_shot(rows, shots, seed=seed)
    for name, part in (("training", rows), ("validation", choosing)):
        if {row.label for row in part} != set(names):
            raise InputError(f"the {name} set lacks a class; it needs some of each of: {', '.join(names)}.")
    for name, part in (("validation", choosing), ("test", tested)):
        for number, row in enumerate(part, 1):
            if row.label not in names:
                raise InputError(
                    f"row {number} of the {name} set has class {row.label!r}, which the training set does not have; "
                    f"classes: {', '.join(names)}."
                )
    return Splits(rows, choosing, tested, names)


def _without(rows: list[Row], later: Sequence[Row]) -> tuple[list[Row], int]:
    """The rows whose text and group stand in no later set, and how many others there were."""
    texts = {row.text.strip() for row in later}
    groups = {row.group for row in later if row.group is not None}
    kept = [row for row in rows if row.text.strip() not in texts and row.group not in groups]
    return kept, len(rows) - len(kept)


def checked_verbalizers(splits: Splits, words: Mapping[str, str]) -> dict[str, str]:
    """The given verbalizers, and for other classes their own name as a word of its own.

    Raises:
        InputError: faults of the task that need the data but no model: empty texts, words that are no verbalizers.
    """
    from hardprompt.tasks.classify.reward import check_examples

    verbalizers = {name: words.get(name, f" {name}") for name in splits.classes}
    for part in (splits.train, splits.validation, splits.test):
        check_examples([row.example for row in part], verbalizers)
    return verbalizers

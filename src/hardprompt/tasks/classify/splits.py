"""The three sets of a run: which texts train, which choose, and which are touched once."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hardprompt.data.tables import Row, classes, few_shot, read_rows, split
from hardprompt.errors import InputError, unknown

if TYPE_CHECKING:
    from hardprompt.tasks.classify.task import Classify

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


def read_splits(config: "Classify") -> Splits:
    """Read the files of a configuration and part what is not given separately, by its seed.

    Raises:
        InputError: whatever is wrong with a file, a column or a class.
    """

    def read(path: str) -> list[Row]:
        return read_rows(path, text=config.text, label=config.label, group=config.group)

    rows = read(config.train)
    seed = config.seed if config.data_seed is None else config.data_seed
    names = classes(rows)
    strange = sorted(set(config.verbalizers) - set(names))
    if strange:
        raise unknown("class with a verbalizer", strange[0], names)
    missing = [name for name in names if config.verbalizers and name not in config.verbalizers]
    if missing:
        raise InputError(
            f"class {missing[0]!r} has no verbalizer; name one for each of: {', '.join(names)}, or for none."
        )
    if config.test is not None:
        test = read(config.test)
    else:
        rows, test = split(rows, _TEST_SHARE, seed=seed)
    if config.validation is not None:
        validation = read(config.validation)
    else:
        rows, validation = split(rows, _VALIDATION_SHARE, seed=seed)
    validation, shared = _without(validation, test)
    rows, more = _without(rows, test)
    if shared + more:
        _LOG.warning("left out of training and validation: %d with a text or group of the test set", shared + more)
    common = len(rows) - len(_without(rows, validation)[0])
    if common:  # published few-shot splits do this: they are used as they are
        _LOG.warning(
            "%d of %d training rows stand in the validation set too: it shows less of overfitting", common, len(rows)
        )
    if config.shots is not None:
        rows = few_shot(rows, config.shots, seed=config.seed)
    for name, part in (("training", rows), ("validation", validation)):
        if {row.label for row in part} != set(names):
            raise InputError(f"the {name} set lacks a class; it needs some of each of: {', '.join(names)}.")
    for name, part in (("validation", validation), ("test", test)):
        for number, row in enumerate(part, 1):
            if row.label not in names:
                raise InputError(
                    f"row {number} of the {name} set has class {row.label!r}, which the training set does not have; "
                    f"classes: {', '.join(names)}."
                )
    return Splits(rows, validation, test, names)


def _without(rows: list[Row], later: Sequence[Row]) -> tuple[list[Row], int]:
    """The rows whose text and group stand in no later set, and how many others there were."""
    texts = {row.text.strip() for row in later}
    groups = {row.group for row in later if row.group is not None}
    kept = [row for row in rows if row.text.strip() not in texts and row.group not in groups]
    return kept, len(rows) - len(kept)

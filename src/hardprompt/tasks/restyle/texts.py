"""The texts of a style transfer run: which train, which choose, which are touched once, and the examples of styles."""

import random
from collections.abc import Container
from dataclasses import dataclass

from hardprompt.data.tables import read_texts
from hardprompt.errors import InputError

LEAST = 20  # texts of a style that a classifier is trained on
_SHARE = 0.25  # of TEXTS that is kept for validation, and as much for the test, where no file is given
_EXAMPLES = 4000  # of a style that a classifier is trained on; more cost minutes and add little


@dataclass(frozen=True)
class Texts:
    """What a run rewrites, in three sets that share no text, and the examples of both styles."""

    train: list[str]
    validation: list[str]
    test: list[str]
    references: list[str] | None
    source: list[str]
    target: list[str]

    @property
    def sizes(self) -> dict[str, int]:
        """How many texts each set has."""
        return {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)}


def read(
    *,
    texts: str,
    column: str | None = None,
    validation: str | None = None,
    test: str | None = None,
    references: str | None = None,
    source_examples: str | None = None,
    target_examples: str | None = None,
    shots: int,
    validate_on: int,
    test_on: int,
    seed: int = 0,
) -> Texts:
    """Read every file of a run and draw its sets: the training texts by the seed, the others always the same.

    The arguments are the settings of these names; ``column`` is the texts' in every table.

    Raises:
        InputError: whatever is wrong with a file, or too few texts.
    """

    def distinct(path: str, but: Container[str] = ()) -> list[str]:
        return [t for t in dict.fromkeys(filter(None, read_texts(path, text=column))) if t not in but]

    pool = distinct(texts)
    random.Random(0).shuffle(pool)
    rewritten: list[str] | None = None
    if test is None:
        taken = min(test_on, max(1, int(_SHARE * len(pool))))
        pool, tested = pool[taken:], pool[:taken]
    else:
        lines = read_texts(test, text=column)
        other = lines if references is None else read_texts(references, text=column)
        if len(other) != len(lines):
            raise InputError(
                f"{references!r} has {len(other)} lines and {test!r} has {len(lines)}; "
                "references are line by line those of the test file."
            )
        rows = [(a, b) for a, b in zip(lines, other, strict=True) if a and b]
        rows = [rows[i] for i in sorted(random.Random(0).sample(range(len(rows)), min(test_on, len(rows))))]
        tested = [text for text, _ in rows]
        rewritten = None if references is None else [reference for _, reference in rows]
    if not tested:
        raise InputError(f"{test!r} has no text that can be tested on (with a reference, where some are given).")
    held = set(tested)
    left = [text for text in pool if text not in held]
    if validation is None:
        choosing = left[: min(validate_on, max(1, int(_SHARE * len(left))))]
    else:
        choosing = distinct(validation, held)
        random.Random(0).shuffle(choosing)
        choosing = choosing[:validate_on]
    held.update(choosing)
    left = [text for text in left if text not in held]
    if len(left) < shots or not choosing:
        raise InputError(
            f"{texts!r} leaves {len(left)} texts to train on and {len(choosing)} to validate on; "
            f"{shots} and 1 are needed."
        )
    train = random.Random(seed).sample(left, shots)
    held.update(rewritten or ())
    source = left if source_examples is None else distinct(source_examples, held)
    target = [] if target_examples is None else distinct(target_examples, held)
    if target_examples is not None:
        for path, found in ((source_examples or texts, source), (target_examples, target)):
            if len(found) < LEAST:
                raise InputError(
                    f"{path!r} has {len(found)} examples of a style that are neither test nor validation texts; a "
                    f"classifier needs {LEAST} or more. Give more lines, --source-examples FILE, a smaller --test-on "
                    "and --validate-on, or --style-model."
                )
    return Texts(train, choosing, tested, rewritten, source[:_EXAMPLES], target[:_EXAMPLES])

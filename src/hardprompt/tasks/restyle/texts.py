"""The texts of a style transfer run: which train, which choose, which are touched once, and the examples of styles."""

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hardprompt.errors import InputError

if TYPE_CHECKING:
    from hardprompt.tasks.restyle.task import StyleRun

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


def read(config: "StyleRun") -> Texts:
    """Read every file of a run and draw its sets: the training texts by the seed, the others always the same.

    Raises:
        InputError: whatever is wrong with a file, or too few texts.
    """
    from hardprompt.data.tables import read_texts

    def texts_of(path: str) -> list[str]:
        return read_texts(path, text=config.text)

    pool = list(dict.fromkeys(filter(None, texts_of(config.texts))))
    random.Random(0).shuffle(pool)
    references: list[str] | None = None
    if config.test is None:
        taken = min(config.test_on, max(1, int(_SHARE * len(pool))))
        pool, test = pool[taken:], pool[:taken]
    else:
        lines = texts_of(config.test)
        other = lines if config.references is None else texts_of(config.references)
        if len(other) != len(lines):
            raise InputError(
                f"{config.references!r} has {len(other)} lines and {config.test!r} has {len(lines)}; "
                "references are line by line those of the test file."
            )
        rows = [(a, b) for a, b in zip(lines, other, strict=True) if a and b]
        rows = [rows[i] for i in sorted(random.Random(0).sample(range(len(rows)), min(config.test_on, len(rows))))]
        test = [text for text, _ in rows]
        references = None if config.references is None else [reference for _, reference in rows]
    if not test:
        raise InputError(f"{config.test!r} has no text that can be tested on (with a reference, where some are given).")
    tested = set(test)
    left = [text for text in pool if text not in tested]
    if config.validation is None:
        taken = min(config.validate_on, max(1, int(_SHARE * len(left))))
        left, validation = left[taken:], left[:taken]
    else:
        validation = [t for t in dict.fromkeys(filter(None, texts_of(config.validation))) if t not in tested]
        random.Random(0).shuffle(validation)
        validation = validation[: config.validate_on]
    chosen_by = set(validation)
    left = [text for text in left if text not in chosen_by]
    if len(left) < config.shots or not validation:
        raise InputError(
            f"{config.texts!r} leaves {len(left)} texts to train on and {len(validation)} to validate on; "
            f"{config.shots} and 1 are needed."
        )
    train = random.Random(config.seed).sample(left, config.shots)
    held = {*test, *validation, *(references or ())}
    examples = {
        name: [t for t in dict.fromkeys(filter(None, texts_of(path))) if t not in held] if path else []
        for name, path in (("source", config.source_examples), ("target", config.target_examples))
    }
    source = left if config.source_examples is None else examples["source"]
    if config.target_examples is not None:
        from hardprompt.tasks.restyle.styles import LEAST

        for path, found in (
            (config.source_examples or config.texts, source),
            (config.target_examples, examples["target"]),
        ):
            if len(found) < LEAST:
                raise InputError(
                    f"{path!r} has {len(found)} examples of a style that are neither test nor validation texts; a "
                    f"classifier needs {LEAST} or more. Give more lines, --source-examples FILE, a smaller --test-on "
                    "and --validate-on, or --style-model."
                )
    return Texts(train, validation, test, references, source[:_EXAMPLES], examples["target"][:_EXAMPLES])

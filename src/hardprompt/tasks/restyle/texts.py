"""The texts of a style transfer run: which train, which choose, which are touched once, and the examples of styles."""

import random
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from hardprompt.data.naming import by_file
from hardprompt.data.saying import say_once
from hardprompt.data.tables import Text, drawn, read_texts, say_left_out
from hardprompt.errors import InputError

LEAST = 20  # texts of a style that a classifier is trained on
_SHARE = 0.25  # of TEXTS that is kept for validation, and as much for the test, where no file is given
LEFT_OUT = "left out"
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
    places: list[tuple[str, Text]]  # of the files of texts, validation and test: which part each text took, or none

    @property
    def sizes(self) -> dict[str, int]:
        """How many texts each set has."""
        left_out = sum(part == LEFT_OUT for part, _ in self.places)
        return {
            "train": len(self.train), "validation": len(self.validation), "test": len(self.test), "left_out": left_out,
        }  # fmt: skip


def read(
    *,
    texts: str,
    column: str | None = None,
    validation: str | None = None,
    test: str | None = None,
    references: str | None = None,
    source_examples: str | None = None,
    target_examples: str | None = None,
    encoding: str | None = None,
    shots: int,
    validation_rows: int,
    test_rows: int,
    seed: int = 0,
) -> Texts:
    """Read every file of a run and draw its sets: the training texts by the seed, the others always the same.

    The arguments are the settings of these names; ``column`` is the texts' in every table.

    Raises:
        InputError: whatever is wrong with a file, or too few texts.
    """
    named = (texts, validation, test, references, source_examples, target_examples)
    files: dict[str, list[Text]] = {}
    faults = []
    for path in dict.fromkeys(path for path in named if path is not None):
        try:
            files[path] = read_texts(path, text=column, encoding=encoding)
        except InputError as error:
            faults.append(str(error))
    if faults:  # those of all files at once
        raise InputError(" ".join(faults))
    files = by_file(files)

    def distinct(path: str, but: Container[str] = ()) -> list[str]:
        return [t for t in dict.fromkeys(one.text for one in files[path] if one.text) if t not in but]

    pool = distinct(texts)
    random.Random(0).shuffle(pool)
    rewritten: list[str] | None = None
    whole: dict[str, int] = {}  # texts of the files for validation and test
    if test is None:
        taken = min(test_rows, max(1, int(_SHARE * len(pool))))
        pool, tested = pool[taken:], pool[:taken]
    else:
        lines = [one.text for one in files[test]]
        other = lines if references is None else [one.text for one in files[references]]
        if len(other) != len(lines):
            raise InputError(
                f"{references!r} has {len(other)} lines and {test!r} has {len(lines)}; "
                "references are line by line those of the test file."
            )
        rows = [(a, b) for a, b in zip(lines, other, strict=True) if a and b]
        whole["test"] = len(rows)
        rows = [rows[i] for i in drawn([""] * len(rows), test_rows, "test")]
        tested = [text for text, _ in rows]
        rewritten = None if references is None else [reference for _, reference in rows]
    if not tested:
        raise InputError(f"{test!r} has no text that can be tested on (with a reference, where some are given).")
    held = set(tested)
    left = [text for text in pool if text not in held]
    if validation is None:
        choosing = left[: min(validation_rows, max(1, int(_SHARE * len(left))))]
    else:
        choosing = distinct(validation, held)
        random.Random(0).shuffle(choosing)
        whole["validation"] = len(choosing)
        choosing = choosing[:validation_rows]
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
    for kind, given in (("the texts' own", source), ("the target", target)):
        if target and len(given) > _EXAMPLES:
            say_once(f"{texts}: {len(given) - _EXAMPLES:,} of {len(given):,} examples of {kind} style are left out")
    source, target = source[:_EXAMPLES], target[:_EXAMPLES]
    if target_examples is not None:
        both = set(source) & set(target)
        for path, found in ((source_examples or texts, source), (target_examples, target)):
            if len(found) < LEAST:
                raise InputError(
                    f"{path!r} has {len(found)} examples of a style that are neither test nor validation texts; a "
                    f"classifier needs {LEAST} or more. Give more lines, --source-examples FILE, a smaller "
                    "--test-rows and --validation-rows, or --style-model."
                )
            if len(found) - len(both) < LEAST:
                raise InputError(
                    f"of {len(found)} examples in {path!r} {len(both)} are examples of the other style too, such as "
                    f"{min(both)[:60]!r}, and tell the classifier nothing; it needs {LEAST} or more that are not. "
                    f"The styles are those of {source_examples or texts!r} and {target_examples!r}."
                )
    sizes = {"validation": len(choosing), "test": len(tested)}
    say_left_out(texts, {name: (sizes[name], of) for name, of in whole.items()})
    parts = {"train": train, "validation": choosing, "test": tested}
    if target:  # else nothing is trained on them
        parts["examples"] = source
    paths = dict.fromkeys(path for path in (texts, validation, test) if path is not None)
    listed = [one for path in paths for one in files[path] if one.text]
    return Texts(train, choosing, tested, rewritten, source, target, _places(parts, listed))


def _places(parts: Mapping[str, Sequence[str]], listed: Sequence[Text]) -> list[tuple[str, Text]]:
    """Each text with the first of the parts that took it, once; a text that stands twice is taken where it is first."""
    waiting = {text: part for part in reversed(list(parts)) for text in parts[part]}
    found = [(waiting.pop(one.text, LEFT_OUT), one) for one in listed]
    return sorted(found, key=lambda pair: [*parts, LEFT_OUT].index(pair[0]))

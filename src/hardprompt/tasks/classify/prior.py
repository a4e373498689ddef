"""How often each class is expected where answers are calibrated: as a user says, or as in the training texts."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from hardprompt.errors import InputError, unknown

Calibration = Literal["none", "batch", "affine"]
"""``none`` takes the model at its word, as the papers do; the others are functions of ``calibration``."""


def check_shares(given: Mapping[str, float], classes: Sequence[str], how: Calibration) -> None:
    """Raise an InputError for shares that are not of these classes, not above 0, or used by nothing."""
    if not given:
        return
    if how == "none":
        raise InputError("class_prior is what calibration expects of the classes; it needs calibrate batch or affine.")
    for name, share in given.items():
        if name not in classes:
            raise unknown("class of class_prior", name, classes)
        if not 0.0 < share < float("inf"):
            raise InputError(f"class_prior of {name!r} is {share}; it must be a number above 0.")
    if missing := [name for name in classes if name not in given]:
        raise InputError(f"class_prior says nothing of {', '.join(map(repr, missing))}; name every class or none.")


def uneven(labels: Iterable[str]) -> list[str]:
    """What there is to say where the training texts stand in for the shares and one class has more than another."""
    counts = Counter(labels)
    if max(counts.values()) - min(counts.values()) <= 1:  # an odd number was parted
        return []
    listed = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    return [
        f"the classes are expected as often as in the training texts ({listed}); if that is not so elsewhere, say how "
        "often with --class-prior."
    ]

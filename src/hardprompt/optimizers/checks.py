"""Ranges of settings, refused in one way."""

import math

from hardprompt.errors import InputError

MANY = math.inf
TINY = 1e-12  # the least of what has to be above zero


def check(**settings: tuple[float, float, float]) -> None:
    """Raise an InputError for the first setting, a (value, lowest, highest), that is outside its range."""
    for name, (value, low, high) in settings.items():
        if not low <= value <= high:
            said = f"be at least {low:g}" if high == MANY else f"lie between {low:g} and {high:g}"
            raise InputError(f"{name} is {value}; it must {said}.")

"""Search methods that fail, for the tests of what must not fail with them."""

import os
from typing import Any


class Broken:
    """Raises when it is asked."""

    needs = ("length", "seed")

    def __init__(self, *, length: int, seed: int) -> None:
        pass

    def ask(self, room: int = 1) -> Any:
        raise ZeroDivisionError("this one is broken")


class Dying(Broken):
    """Ends its process."""

    def ask(self, room: int = 1) -> Any:
        os._exit(9)


class Blind:
    """Asks a run for nothing."""

    needs = ()

    def ask(self, room: int = 1) -> Any:
        raise NotImplementedError

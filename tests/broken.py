"""Search methods that fail, for the tests of what must not fail with them."""

import os
from typing import Any, ClassVar


class Broken:
    """Raises when it is asked."""

    needs: ClassVar[tuple[str, ...]] = ("length", "seed")

    def __init__(self, *, length: int, seed: int) -> None:
        pass

    def ask(self, room: int = 1) -> Any:
        raise ZeroDivisionError("this one is broken")

    def tell(self, proposal: Any, rewards: Any) -> Any:
        raise NotImplementedError

    def recommend(self) -> Any:
        raise NotImplementedError


class Dying(Broken):
    """Ends its process."""

    def ask(self, room: int = 1) -> Any:
        os._exit(9)


class Blind(Broken):
    """Asks a run for nothing."""

    needs: ClassVar[tuple[str, ...]] = ()

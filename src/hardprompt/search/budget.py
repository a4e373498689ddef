"""What a search may spend: pairs of a prompt and an item, and seconds; asked before anything is spent."""

from dataclasses import dataclass

from hardprompt.errors import InputError


@dataclass
class Budget:
    """Counts pairs, and never holds more than its limit.

    An evaluation is one prompt on all items, and so is one gradient pass through them.

    Raises:
        InputError: a limit that allows nothing.
    """

    evaluations: int  # the limit
    items: int = 1  # pairs of one evaluation
    seconds: float | None = None  # limit of a whole run, its earlier parts included; None is no limit
    pairs: int = 0  # spent so far
    passes: int = 0  # evaluations among them that were gradient passes

    def __post_init__(self) -> None:
        if self.evaluations < 1 or self.items < 1:
            raise InputError(f"evaluations={self.evaluations}, items={self.items}: each must be >= 1.")
        if self.seconds is not None and not self.seconds > 0:
            raise InputError(f"seconds is {self.seconds}; it must be above 0.")

    @property
    def spent(self) -> int:
        """Evaluations so far; one that has begun counts as a whole one."""
        return -(-self.pairs // self.items)

    @property
    def room(self) -> int:
        """Evaluations that are left."""
        return (self.evaluations * self.items - self.pairs) // self.items

    def spend(self, prompts: int, *, passes: int = 0) -> None:
        """Take so many evaluations.

        Raises:
            InputError: there are not so many left; nothing is taken.
        """
        if prompts + passes > self.room:
            raise InputError(f"{prompts + passes} evaluations were asked for, and {self.room} are left.")
        self.pairs += (prompts + passes) * self.items
        self.passes += passes

    def ended(self, seconds: float) -> str | None:
        """Which limit is reached after so many seconds, if any."""
        if self.room < 1:
            return "evaluations"
        return "seconds" if self.seconds is not None and seconds >= self.seconds else None

    def used(self, seconds: float) -> float:
        """The used part of what runs out first, in [0, 1]."""
        of_time = seconds / self.seconds if self.seconds is not None else 0.0
        return min(1.0, max(self.pairs / (self.evaluations * self.items), of_time))

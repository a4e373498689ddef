"""What is being scored, group by group: kept, so that a run that was stopped goes on there, and told to who watches."""

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from hardprompt.search.files import Past, StateStore
from hardprompt.search.passes import Share, watched
from hardprompt.search.stopping import finished

Watch = Callable[[str, int, int, int], None]
"""Is told a part of the run, such as ``test``, how many pairs of prompt and item of how many are scored, and how many
of those the process before had scored."""

TRAIN, VALIDATION, TEST = "train", "validation", "test"
"""Parts of a run; what is asked again of the chosen prompt belongs to the test."""

_CHARACTERS = 65_536  # of prompts and texts in one group: half a minute for a small model on one core
_SECONDS = 2.0  # between two saves

_Value = TypeVar("_Value")


class Work:
    """Has each group of scores made once, in this process or in the one that was stopped before it.

    A group is made whole, of all prompts beside some items, so that what else is asked for, and so its last digits, is
    the same whoever makes it. What is made has to follow from part, prompts and items alone. Nothing is kept before
    ``keep_in``.
    """

    def __init__(self) -> None:
        self._store: StateStore | None = None
        self._folder: Path | None = None
        self._known: dict[str, tuple[Any, float]] = {}  # of the process before, and the seconds that it took there
        self.borrowed = 0.0  # seconds of the process before that were made use of
        self._log: list[list[Any]] = []
        self._saved = 0.0, 0  # when, and how many of the log
        self._watch: Watch = lambda *_: None

    def watch(self, watch: Watch) -> None:
        """Tell ``watch`` of every group from now on."""
        self._watch = watch

    def keep_in(self, folder: Path) -> None:
        """Keep what is made in a folder, and begin with what is there.

        Raises:
            InputError: it is damaged.
        """
        self._folder, self._store = folder, StateStore(folder)
        state = self._store.load() or {"groups": []}
        self._log = [list(entry) for entry in state["groups"] if _is_entry(entry)]
        self._known = {key: (value, seconds) for key, value, seconds in self._log}
        self._saved = time.monotonic(), len(self._log)

    def each(
        self,
        part: str,
        prompts: Sequence[str],
        groups: Sequence[Sequence[int]],
        make: Callable[[list[int]], _Value],
        *,
        whole: bool = False,
    ) -> list[_Value]:
        """What ``make`` makes of each group of items with these prompts.

        It makes a tensor of prompts by items, or lists of such a shape; a Ctrl-C waits for it only if it is ``whole``.
        """
        made, done, known, total = [], 0, 0, len(prompts) * sum(map(len, groups))
        self._watch(part, 0, total, 0)
        for group in groups:
            name = json.dumps([part, list(prompts), list(group)])
            key = hashlib.sha256(name.encode()).hexdigest()
            value, seconds = self._known.pop(key, (None, 0.0))
            size = len(prompts) * len(group)
            if _fits(value, len(prompts), len(group)):
                known += size
                self.borrowed += seconds
            else:
                within = self._within(part, done, size, total, known)
                began = time.monotonic()
                with finished() if whole else contextlib.nullcontext(), watched(within):
                    value = make(list(group))
                    self._keep(key, value, time.monotonic() - began)
            made.append(value)
            done += size
            self._watch(part, done, total, known)
        return made

    def forget(self) -> None:
        """What was made until now is part of a checkpoint, and need not be kept here."""
        self._log, self._saved = [], (self._saved[0], 0)

    def save(self) -> None:
        """Write what is new, such as before the process ends."""
        if self._store is not None and self._saved[1] < len(self._log):
            with finished():
                self._store.save(len(self._log), {"groups": Past(self._log)})
                self._saved = time.monotonic(), len(self._log)

    def end(self) -> None:
        """All is done: nothing of it needs to be kept."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _within(self, part: str, done: int, size: int, total: int, known: int) -> Share:
        """Tells of a group's pairs, all but one, while it is made: the last is scored when it is kept."""
        most = 0

        def tell(share: float) -> None:
            nonlocal most
            if (now := min(int(share * size), size - 1)) > most:
                most = now
                self._watch(part, done + now, total, known)

        return tell

    def _keep(self, key: str, value: Any, seconds: float) -> None:
        if self._store is not None:
            self._log.append([key, value, seconds])
            if time.monotonic() - self._saved[0] > _SECONDS:
                self.save()


def grouped(sizes: Sequence[int], items: Sequence[int]) -> list[list[int]]:
    """The items, in their order, in groups of a size that is work of seconds; ``sizes`` are their characters."""
    groups: list[list[int]] = []
    used = 0
    for item, size in zip(items, sizes, strict=True):
        used += size
        if not groups or used > _CHARACTERS:
            groups.append([])
            used = size
        groups[-1].append(item)
    return groups


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, list) and len(entry) == 3 and isinstance(entry[0], str)
        and isinstance(entry[2], float) and 0.0 <= entry[2] < float("inf")
    )  # fmt: skip


def _fits(value: Any, prompts: int, items: int) -> bool:
    """Whether it is what was made of so many prompts and items; what was not finite may have been mended since."""
    if isinstance(value, Tensor):
        return value.shape[:2] == (prompts, items) and bool(value.isfinite().all())
    return (
        isinstance(value, list)
        and len(value) == prompts
        and all(isinstance(v, list) and len(v) == items for v in value)
    )

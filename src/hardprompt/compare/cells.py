"""Runs the cells of a comparison in processes side by side; one that fails is recorded and the others go on."""

import contextlib
import json
import logging
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from hardprompt.compare.plan import Cell
from hardprompt.data.saying import say_once
from hardprompt.errors import HardpromptError
from hardprompt.runs import begun, start
from hardprompt.runs.folder import RESULT, RUN
from hardprompt.search.plugins import trust, trusted
from hardprompt.search.writing import write_json

FAILED = "failed.json"
_BYTES = 4 << 30  # of memory for one process: two small models, the texts' keys and values, and what torch needs
_POLL = 0.5  # seconds between two looks around


def affordable() -> int:
    """Processes that cores and free memory allow."""
    import psutil

    return max(1, min(os.cpu_count() or 1, int(psutil.virtual_memory().available) // _BYTES))


def unfinished(cells: Sequence[Cell]) -> list[Cell]:
    """Those without a result; what failed is tried again."""
    return [cell for cell in cells if not (cell.folder / RESULT).is_file()]


def failure(cell: Cell) -> str | None:
    """Why a cell failed, if it did and has not finished since."""
    path = cell.folder / FAILED
    failed = path.is_file() and not (cell.folder / RESULT).is_file()
    return str(json.loads(path.read_text(encoding="utf-8"))["error"]) if failed else None


def run_cells(cells: Sequence[Cell], *, workers: int) -> Iterator[tuple[Cell, str | None]]:
    """Run what is not finished; yields each cell as it ends, with its error if it has one.

    What the searches warn of is said as their cells end, the same once.

    A process that dies, as for want of memory, takes the others of its pool with it: they are run again one by one, so
    that the one to blame is known.
    """
    waiting = list(cells)
    alone = False
    while waiting:
        group = waiting[:1] if alone else waiting
        done: list[Cell] = []
        try:
            for cell, error in _pool(group, 1 if alone else min(workers, len(group))):
                done.append(cell)
                yield cell, error
        except BrokenProcessPool:
            if alone:
                error = "its process died; there may be too little memory for it."
                record(group[0], error, "")
                done.append(group[0])
                yield group[0], error
            alone = not alone  # one by one until the one to blame is found
        waiting = [cell for cell in waiting if cell not in done]


def _pool(cells: Sequence[Cell], workers: int) -> Iterator[tuple[Cell, str | None]]:
    context = multiprocessing.get_context("spawn")  # a fork of a process that uses threads may hang
    threads = max(1, (os.cpu_count() or 1) // workers)
    with _safe_path():
        pool = ProcessPoolExecutor(
            workers, mp_context=context, initializer=_begin, initargs=(os.getpid(), threads, trusted())
        )
        futures: dict[Future[tuple[str | None, list[str]]], Cell] = {pool.submit(_run, cell): cell for cell in cells}
    with pool:
        open_ones = set(futures)
        try:
            while open_ones:
                ended, open_ones = wait(open_ones, timeout=_POLL, return_when=FIRST_COMPLETED)
                for future in ended:
                    error, warned = future.result()
                    for message in warned:
                        say_once(message)
                    yield futures[future], error
        except BaseException:
            for process in multiprocessing.active_children():  # a search can be stopped at any time
                process.terminate()
            raise


@contextlib.contextmanager
def _safe_path() -> Iterator[None]:
    """New processes look for modules as we do, and not first of all where the user stands."""
    name = "PYTHONSAFEPATH"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


class _Heard(logging.Handler):
    """Keeps what a cell warns of for the process that has the screen."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        self._messages.append(record.getMessage())

    def taken(self) -> list[str]:
        """What was heard since the last time."""
        found, self._messages = self._messages, []
        return found


class _Worker:
    """What one process runs its cells with: models are loaded once, and only the parent answers Ctrl-C."""

    def __init__(self, threads: int) -> None:
        from hardprompt.lms.models import Models  # only in a worker: the parent has no use for torch

        self.threads, self.models, self.heard = threads, Models(keep=True), _Heard()
        logging.getLogger().addHandler(self.heard)

    def run(self, cell: Cell) -> str | None:
        """Run one cell in its own folder; returns its error, if any."""
        from hardprompt.runs.run import execute

        (cell.folder / FAILED).unlink(missing_ok=True)
        try:
            if (cell.folder / RUN).is_file():
                recipe = begun(cell.folder)
            else:
                cell.folder.parent.mkdir(parents=True, exist_ok=True)
                threads = cell.recipe.values["threads"] or self.threads
                recipe = start(cell.recipe.changed(threads=threads), cell.folder)
            execute(cell.folder, recipe, models=self.models)
            return None
        except HardpromptError as error:
            said, trace = str(error), ""
        except Exception as error:  # whatever it is, it is one cell's, and the file says where it came from
            said, trace = f"{type(error).__name__}: {error}", traceback.format_exc()
        record(cell, said, trace)
        return said


_worker: _Worker | None = None  # of this process, if it is one of a pool


def _begin(parent: int, threads: int, names: frozenset[str] | None) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()  # before torch, which takes seconds
    trust(names)
    _worker = _Worker(threads)


def _run(cell: Cell) -> tuple[str | None, list[str]]:
    if _worker is None:
        raise RuntimeError("the pool begins every process with _begin")
    error = _worker.run(cell)
    return error, _worker.heard.taken()


def _follow(parent: int) -> None:
    """End with the parent when it is killed: what goes on alone would hold its run folder."""
    while os.getppid() == parent:
        time.sleep(_POLL)
    os._exit(1)


def record(cell: Cell, error: str, trace: str) -> None:
    """Write down why a cell failed."""
    cell.folder.mkdir(parents=True, exist_ok=True)
    write_json(cell.folder / FAILED, {"error": error, "traceback": trace})

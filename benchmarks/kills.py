"""Whether a run that is killed, or whose disk fills, ends as if nothing had happened.

    python benchmarks/kills.py --kills 1000 --write    # docs/reliability.json and its table; half an hour; resumes

A short run on real film reviews, with two layers of the embedded model so that it takes seconds, is killed (SIGKILL)
at a random moment and resumed, killed again and resumed, until it ends; or killed right before a random one of its
file operations (opening, renaming, deleting, making a folder); or its files may not grow beyond a random number of
bytes, as on a full disk. What it leaves must equal, but for the clock, what a run leaves that nobody disturbed. A
process that has loaded everything forks for each try.
"""

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import pages
import torch

from hardprompt.data.films import write_data
from hardprompt.errors import HardpromptError
from hardprompt.lms.models import Models
from hardprompt.runs import execute
from hardprompt.runs.folder import begun, start
from hardprompt.tasks import Recipe

FORK = get_context("fork")
KINDS = ("moment", "file operation", "full disk")
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.truncate")
PARTS = ("result.json", "steps.jsonl", "prompts.csv", "predictions.csv", "README.md")


def small(folder: Path) -> str:
    """A folder with the embedded model's first two layers."""
    lm = Models().causal("embedded:smollm2")
    lm.model.model.layers = lm.model.model.layers[:2]
    lm.model.config.num_hidden_layers = 2
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    return str(folder)


def recipe(data: dict[str, Path], model: str) -> Recipe:
    """A run of seconds that has every phase and saves after each step."""
    return Recipe.of({
        "task": "classify", **{part: str(path) for part, path in data.items()}, "text": "text", "label": "label",
        "template": "Review: {text}\n{prompt}:", "method": "pin-prior", "length": 3, "evaluations": 24, "save_every": 1,
        "threads": 1, "policy_model": model, "task_model": model, "judge": model,
    })  # fmt: skip


def attempt(out: Path, run: Recipe, models: Models, before: Callable[[], None], said: Path) -> None:
    """Begin the run in ``out`` or go on with it, after ``before``.

    Exit code 2 is what the command line says in one line.
    """
    before()
    try:
        execute(out, begun(out) if (out / "run.yaml").exists() else start(run, out), models=models)
    except (HardpromptError, OSError) as error:
        with contextlib.suppress(OSError):
            said.write_text(str(error))
        sys.exit(2)


def forked(*args: Any) -> ForkProcess:
    """A child that makes an attempt."""
    child = FORK.Process(target=attempt, args=args)
    child.start()
    return child


def ended(child: ForkProcess) -> int | None:
    """Exit code of a child, negative the signal that ended it."""
    child.join()
    return child.exitcode


def nothing() -> None:
    """Leave the child alone."""


def killed_before(number: int, folder: Path) -> Callable[[], None]:
    """Kill the process right before the so-manyth operation on a file of the run."""

    def arm() -> None:
        left = number

        def hook(event: str, args: tuple[Any, ...]) -> None:
            nonlocal left
            if event in EVENTS and str(folder) in str(args[0]):
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)

    return arm


def limited(size: int) -> Callable[[], None]:
    """No file may grow beyond so many bytes: writes end in the middle, with an error."""

    def arm() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    return arm


def left_by(out: Path) -> dict[str, str]:
    """What a run leaves, without what the clock says."""
    found = {}
    for name in PARTS:
        if not (path := out / name).is_file():
            continue
        text = path.read_text(encoding="utf-8")
        if name.endswith((".json", ".jsonl")):
            records = [json.loads(line) for line in (text.splitlines() if name == "steps.jsonl" else [text])]
            for record in records:
                record.pop("seconds")
            text = json.dumps(records)
        found[name] = "\n".join(line for line in text.splitlines() if "second" not in line and "minute" not in line)
    return found


def trial(
    kind: str, draw: random.Random, run: Recipe, models: Models, folder: Path, length: float
) -> tuple[Counter[str], Path]:
    """Disturb one run until it ends; what happened, and where the run lies."""
    out, said, seen = folder / "run", folder / "said", Counter[str]()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for number in range(100):
        disturbed = number < (3 if kind == "full disk" else 20) and draw.random() < 0.9
        before = nothing
        if disturbed and kind == "file operation":
            before = killed_before(draw.randrange(40), out)
        elif disturbed and kind == "full disk":
            before = limited(int(10 ** draw.uniform(1, 6.5)))
        child = forked(out, run, models, before, said)
        if disturbed and kind == "moment":
            time.sleep(draw.uniform(0, length))
            child.kill()
        code = ended(child)
        if code == 0:
            seen["ends"] += 1
            return seen, out
        if code == -signal.SIGKILL:
            seen["kills"] += 1
        elif code == 2 and kind == "full disk" and disturbed:
            seen["errors"] += 1
        else:
            raise SystemExit(f"{kind}: exit code {code}: {said.read_text() if said.exists() else ''}")
    raise SystemExit(f"{kind}: no end after 100 attempts")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30, help="kills to reach")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="keep the counts in docs/, and go on with those there")
    options = parser.parse_args()
    torch.set_num_threads(1)  # more would not live on in a child
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "data").mkdir()
        data = write_data(folder / "data", seed=0, apart=True)
        for part, path in data.items():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            each = {"train": 6, "validation": 6, "test": 8}[part]  # of both classes, which stand one after the other
            path.write_text("".join([lines[0], *lines[1 : each + 1], *lines[-each:]]), encoding="utf-8")
        model, models = small(folder / "model"), Models(keep=True)
        run = recipe(data, model)
        length = 0.0
        for name in ("first", "whole"):  # the first imports and remembers what the children then have
            began = time.monotonic()
            execute(folder / name, start(run, folder / name), models=models)
            length = time.monotonic() - began
        whole = left_by(folder / "whole")
        print(f"a run that nobody disturbs: {length:.1f} s, {', '.join(whole)}", flush=True)
        known = pages.kept("reliability").get("kills", {}) if options.write else {}
        counts: dict[str, Any] = {kind: known.get(kind, {}) for kind in KINDS}
        number = sum(sum(kind.values()) for kind in counts.values())
        while sum(kind.get("kills", 0) for kind in counts.values()) < options.kills:
            number += 1
            kind = KINDS[number % len(KINDS)]
            seen, out = trial(kind, random.Random(f"{options.seed}|{number}"), run, models, folder / "trial", length)
            for part, text in left_by(out).items():
                if text != whole[part]:
                    raise SystemExit(f"{kind}, trial {number}: {part} differs:\n{text}\n\nwhole:\n{whole[part]}")
            counts[kind] = dict(Counter(counts[kind]) + seen)
            print(number, kind, dict(seen), flush=True)
            if options.write:
                pages.keep("reliability", "kills", counts)
    print(json.dumps(counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())

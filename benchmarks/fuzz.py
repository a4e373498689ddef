"""Bytes that nobody would write, for every reader: an error of ours, or a value.

    pip install atheris                                    # where it installs
    python benchmarks/fuzz.py csv --seconds 600            # or another reader: --help names them
    python benchmarks/fuzz.py all --seconds 120 --write    # docs/reliability.json and its table; half an hour

atheris mutates the bytes towards code that has not run yet. The first exception that is not one of ours ends it, with
the bytes that caused it. Without atheris `tests/cli/test_edited.py` and `tests/unit` do the same with Hypothesis.
"""

import argparse
import contextlib
import logging
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris
import pages

with atheris.instrument_imports(include=["hardprompt"]):
    from hardprompt.data.tables import read_rows, read_texts
    from hardprompt.errors import HardpromptError
    from hardprompt.runs.folder import read_recipe, read_result
    from hardprompt.runs.steps import read_steps
    from hardprompt.search.files import StateStore
    from hardprompt.tasks.template import Template


def table(suffix: str) -> Callable[[Path, bytes], object]:
    """Read labelled rows from a file of these bytes."""

    def read(folder: Path, data: bytes) -> object:
        path = folder / f"data.{suffix}"
        path.write_bytes(data)
        return read_rows(path, text="text", label="label")

    return read


def texts(folder: Path, data: bytes) -> object:
    """Read a text from each line."""
    (folder / "data.txt").write_bytes(data)
    return read_texts(folder / "data.txt")


def template(_: Path, data: bytes) -> object:
    """Fill a template."""
    return Template(data.decode("utf-8", "replace")).fill("{text}", "{prompt}")


def settings(folder: Path, data: bytes) -> object:
    """Read settings."""
    (folder / "run.yaml").write_bytes(data)
    return read_recipe(folder / "run.yaml")


def state(folder: Path, data: bytes) -> object:
    """Read a checkpoint."""
    (folder / "state.json").write_bytes(data)
    return StateStore(folder).load()


def steps(folder: Path, data: bytes) -> object:
    """Read the log of steps."""
    (folder / "steps.jsonl").write_bytes(data)
    return read_steps(folder)


def result(folder: Path, data: bytes) -> object:
    """Read a result."""
    (folder / "result.json").write_bytes(data)
    return read_result(folder)


TARGETS: dict[str, tuple[Callable[[Path, bytes], object], bytes]] = {
    "csv": (table("csv"), b'text,label\n"a, b",x\nc,y\n'),
    "tsv": (table("tsv"), b"text\tlabel\na\tx\n"),
    "jsonl": (table("jsonl"), b'{"text": "a", "label": 1}\n{"text": "\\ud83d", "label": null}\n'),
    "parquet": (table("parquet"), b"PAR1"),
    "texts": (texts, b"one\ntwo\n"),
    "template": (template, b"{text} {prompt} {mask}"),
    "yaml": (settings, b"task: classify\ntrain: a.csv\ntext: text\nlabel: label\nlength: 5\n"),
    "state": (state, b'{"tensors": "a", "large": {}, "state": {}}'),
    "steps": (steps, b'{"step": 1}\n'),
    "result": (result, b'{"task": "classify", "test": {}}'),
}


def fuzz(name: str, seconds: int) -> None:
    """Give a reader what atheris makes up; does not return."""
    logging.disable(logging.CRITICAL)
    read, seed = TARGETS[name]
    with tempfile.TemporaryDirectory() as scratch:
        folder, corpus = Path(scratch) / "folder", Path(scratch) / "corpus"
        folder.mkdir()
        corpus.mkdir()
        (corpus / "seed").write_bytes(seed)

        def one(data: bytes) -> None:
            with contextlib.suppress(HardpromptError):
                read(folder, data)

        limits = [f"-max_total_time={seconds}", "-max_len=400", f"-artifact_prefix={scratch}/"]
        atheris.Setup([sys.argv[0], str(corpus), *limits], one)
        atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=int, default=60, help="for each reader")
    parser.add_argument("--write", action="store_true", help="keep the figures of all in docs/")
    options = parser.parse_args()
    if options.target != "all":
        fuzz(options.target, options.seconds)
    counts = {}
    for name in TARGETS:
        command = [sys.executable, __file__, name, "--seconds", str(options.seconds)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        ended = re.search(r"Done (\d+) runs in (\d+) second", done.stderr)
        if done.returncode or ended is None:
            raise SystemExit(f"{name}: {done.stderr[-2000:]}")
        counts[name] = {"runs": int(ended[1]), "seconds": int(ended[2])}
        print(name, counts[name], flush=True)
    if options.write:
        pages.keep("reliability", "fuzz", counts)
    return 0


if __name__ == "__main__":
    sys.exit(main())

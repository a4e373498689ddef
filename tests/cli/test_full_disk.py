"""A disk that is full or may not be written on costs one line, and nothing of what was there."""

import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hardprompt.cli.main import main

from .conftest import comparable

Arguments = Callable[..., list[str]]


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: a write ends in the middle, with an error, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def refused(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says that cannot write."""
    assert main(command) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    return said.err


def test_a_run_that_meets_a_full_disk_is_kept_and_ends_alike(
    arguments: Arguments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments("whole")) == 0
    whole, out = comparable(tmp_path / "whole"), tmp_path / "full"
    capsys.readouterr()
    with no_file_beyond(100):
        said = refused(arguments("full"), capsys)
    assert f"{out / 'run.yaml'}" in said
    assert not (out / "run.yaml").exists()
    command = arguments("full")
    for size in (4_000, 0, 20_000):  # within the first checkpoint, at once, and within a later one
        with no_file_beyond(size):
            said = refused(command, capsys)
        assert "File too large" in said
        assert f"the run stopped and is kept; continue with: hardprompt resume {out}" in said
        command = ["resume", str(out)]
    assert main(command) == 0
    assert comparable(out) == whole


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a folder that nobody may write in, not even root")
def test_a_folder_that_nobody_may_write_in_is_one_line(
    arguments: Arguments, capsys: pytest.CaptureFixture[str]
) -> None:
    for out in ("/sys/hardprompt", "/sys/hardprompt/run"):
        said = refused(arguments(out), capsys)
        assert said.splitlines()[-1].startswith("hardprompt: /sys/hardprompt: ")

"""The number of threads is what is fastest now, within what the machine grants."""

from pathlib import Path

import pytest
import torch

from hardprompt.lms import placing


@pytest.fixture(autouse=True)
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(placing, "_quota", lambda: 8)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({1: 8.0, 4: 2.0, 8: 1.0}, 8),  # idle
        ({1: 1.0, 4: 2.0, 8: 4.0}, 1),  # others are at work
        ({1: 4.0, 4: 1.0, 8: 1.5}, 4),
        ({1: 1.0, 4: 0.95, 8: 0.97}, 1),  # not worth it
    ],
)
def test_the_fastest_is_chosen(monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], expected: int) -> None:
    monkeypatch.setattr(placing, "_time", lambda n: seconds[n])
    assert placing.choose_threads() == expected


def test_a_container_is_not_given_more_than_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "_quota", lambda: 2)
    monkeypatch.setattr(placing, "_time", lambda n: 1.0 / n)
    assert placing.choose_threads() == 2


@pytest.mark.parametrize(("text", "expected"), [("200000 100000\n", 2), ("50000 100000\n", 1), ("max 100000\n", None)])
def test_the_quota_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: int | None) -> None:
    monkeypatch.undo()
    (tmp_path / "cpu.max").write_text(text)
    monkeypatch.setattr(placing, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr("os.cpu_count", lambda: 5)
    assert placing._quota() == (expected or 5)


def test_trying_leaves_the_threads_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(placing, "_quota", lambda: 2)
    before = torch.get_num_threads()
    assert placing.choose_threads() in (1, 2)
    assert torch.get_num_threads() == before

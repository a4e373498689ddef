"""Ctrl-C is heard at once, and after what has to be finished."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hardprompt.search.rewards import Cached
from hardprompt.search.stopping import finished, stoppable
from hardprompt.search.work import TEST, Work, grouped


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def stopped(what: Callable[[list[str]], None]) -> list[str]:
    """What was done until a KeyboardInterrupt came out."""
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt), stoppable(lambda: done.append("waiting")):
        what(done)
    return done


def test_it_is_raised_where_it_comes_and_what_was_there_before_is_put_back() -> None:
    def what(done: list[str]) -> None:
        done.append("first")
        press()
        done.append("never")

    before = signal.getsignal(signal.SIGINT)
    assert stopped(what) == ["first"]
    assert signal.getsignal(signal.SIGINT) is before


def test_what_has_to_be_finished_is_and_says_so() -> None:
    def what(done: list[str]) -> None:
        with finished():
            with finished():
                press()
                done.append("inner")
            done.append("outer")
        done.append("never")

    assert stopped(what) == ["waiting", "inner", "outer"]


def test_the_second_stops_anything() -> None:
    def what(done: list[str]) -> None:
        with finished():
            press()
            done.append("first")
            press()
            done.append("never")

    assert stopped(what) == ["waiting", "first"]


def test_nothing_is_left_of_it_for_the_next() -> None:
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), stoppable(lambda: None):
            press()
    with stoppable(lambda: None), finished():
        pass


def test_a_call_of_a_function_of_a_users_own_is_finished_and_kept(tmp_path: Path) -> None:
    calls: list[list[str]] = []

    def reward(prompts: list[str]) -> torch.Tensor:
        calls.append(prompts)
        if len(calls) == 2:
            press()
        return torch.tensor([float(len(prompt)) for prompt in prompts])

    def cached() -> Cached:
        work = Work()
        work.keep_in(tmp_path / "partial")
        works.append(work)
        return Cached(reward, work=work)

    works: list[Work] = []
    asked = cached()
    asked(["a"])
    assert stopped(lambda _: print(asked(["bb", "ccc"]))) == ["waiting"]
    works[0].save()
    again = cached()
    assert again(["a"]).tolist() == [1.0]
    assert again(["bb", "ccc"]).tolist() == [2.0, 3.0]
    assert calls == [["a"], ["bb", "ccc"]]
    assert again(["dddd"]).tolist() == [4.0]
    assert (again.hits, again.scored) == (0, 4)


def test_what_is_not_finite_is_not_kept(tmp_path: Path) -> None:
    for value in (float("nan"), 2.0):
        work = Work()
        work.keep_in(tmp_path / "partial")
        (found,) = work.each(TEST, ["p"], [[0]], lambda _, value=value: torch.tensor([[value]]))  # type: ignore[misc]
        work.save()
    assert found.tolist() == [[2.0]]


def test_a_checkpoint_takes_the_place_of_what_was_kept(tmp_path: Path) -> None:
    made: list[int] = []

    def make(number: int) -> Callable[[list[int]], torch.Tensor]:
        def score(_: list[int]) -> torch.Tensor:
            made.append(number)
            return torch.tensor([[float(number)]])

        return score

    work = Work()
    work.keep_in(tmp_path / "partial")
    work.each(TEST, ["p"], [[0]], make(0))
    work.forget()
    work.each(TEST, ["q"], [[0]], make(1))
    work.save()
    again = Work()
    again.keep_in(tmp_path / "partial")
    assert again.each(TEST, ["q"], [[0]], make(2))[0].tolist() == [[1.0]]
    assert again.each(TEST, ["p"], [[0]], make(3))[0].tolist() == [[3.0]]
    assert made == [0, 1, 3]
    again.end()
    assert not (tmp_path / "partial").exists()


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [([], []), ([1], [[0]]), ([40_000, 40_000, 1], [[0], [1, 2]]), ([99_999, 99_999], [[0], [1]])],
)
def test_groups_hold_all_items_in_their_order(sizes: list[int], groups: list[list[int]]) -> None:
    assert grouped(sizes, range(len(sizes))) == groups

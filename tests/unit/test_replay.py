"""The ring buffer: what it holds, what it draws, and that it comes back from a checkpoint."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hardprompt.errors import InputError
from hardprompt.optimizers.qlearning.replay import Replay
from hardprompt.search.seen import keep_best


def numbered(first: int, count: int, length: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompt i is [i, i, i] and earns i / 2."""
    number = torch.arange(first, first + count)
    return number[:, None].expand(count, length).clone(), number / 2.0


def held(replay: Replay) -> list[float]:
    return sorted(replay.rewards.tolist())


def test_a_new_buffer_is_empty_and_sampling_from_it_raises() -> None:
    replay = Replay(capacity=4, length=3)
    assert len(replay) == 0
    assert replay.rewards.tolist() == []
    with pytest.raises(InputError, match="empty"):
        replay.sample(1, torch.Generator())


@pytest.mark.parametrize(("capacity", "length"), [(0, 3), (4, 0), (-1, 3)])
def test_a_buffer_without_room_raises_an_input_error(capacity: int, length: int) -> None:
    with pytest.raises(InputError):
        Replay(capacity=capacity, length=length)


@given(capacity=st.integers(1, 8), batches=st.lists(st.integers(0, 11), max_size=5))
def test_buffer_holds_exactly_the_latest_entries(capacity: int, batches: list[int]) -> None:
    replay, added = Replay(capacity=capacity, length=3), 0
    for count in batches:
        replay.add(*numbered(added, count))
        added += count
    assert len(replay) == min(added, capacity)
    assert held(replay) == [i / 2.0 for i in range(max(0, added - capacity), added)]


def test_drawn_ids_keep_their_own_reward() -> None:
    replay = Replay(capacity=5, length=3)
    replay.add(*numbered(0, 8))
    ids, rewards = replay.sample(100, torch.Generator().manual_seed(0))
    assert ids.shape == (100, 3)
    assert ids.dtype == torch.int64
    assert torch.equal(ids[:, 0] / 2.0, rewards)
    assert (ids == ids[:, :1]).all()


def test_every_entry_and_nothing_else_is_drawn_about_equally_often() -> None:
    replay = Replay(capacity=10, length=3)
    replay.add(*numbered(1, 4))  # six slots are still empty
    ids, _ = replay.sample(4000, torch.Generator().manual_seed(0))
    counts = torch.bincount(ids[:, 0], minlength=5).tolist()
    assert counts[0] == 0
    assert all(850 < count < 1150 for count in counts[1:])  # five standard deviations


def test_more_can_be_drawn_than_is_held() -> None:
    replay = Replay(capacity=4, length=3)
    replay.add(*numbered(7, 1))
    ids, rewards = replay.sample(6, torch.Generator())
    assert ids.tolist() == [[7, 7, 7]] * 6
    assert rewards.tolist() == [3.5] * 6


def test_draws_depend_on_the_generator_alone() -> None:
    replay = Replay(capacity=50, length=3)
    replay.add(*numbered(0, 50))
    draws = [replay.sample(20, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.unchecked
def test_adding_unequal_numbers_of_prompts_and_rewards_raises() -> None:
    with pytest.raises(ValueError, match="zip"):
        Replay(capacity=4, length=3).add(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(3))


@pytest.mark.parametrize("added", [0, 3, 5, 13])
def test_a_restored_buffer_draws_and_overwrites_like_the_original(added: int) -> None:
    original, restored = Replay(capacity=5, length=3), Replay(capacity=5, length=3)
    original.add(*numbered(0, added))
    restored.load_state_dict(original.state_dict())
    for replay in (original, restored):
        replay.add(*numbered(100, 2))
    assert len(restored) == len(original)
    a, b = (r.sample(30, torch.Generator().manual_seed(3)) for r in (original, restored))
    assert torch.equal(a[0], b[0])
    assert torch.equal(a[1], b[1])


def test_a_restored_buffer_forgets_what_it_held_before() -> None:
    small, full = Replay(capacity=5, length=3), Replay(capacity=5, length=3)
    small.add(*numbered(0, 2))
    full.add(*numbered(50, 5))
    full.load_state_dict(small.state_dict())
    assert held(full) == [0.0, 0.5]


def test_state_is_a_snapshot_that_later_entries_do_not_change() -> None:
    replay = Replay(capacity=2, length=3)
    replay.add(*numbered(0, 2))
    state = replay.state_dict()
    replay.add(*numbered(10, 2))
    assert state["entries"] == [[[[0, 0, 0], [1, 1, 1]], [0.0, 0.5]]]


@given(st.lists(st.integers(0, 7), max_size=12))
def test_a_buffer_that_was_full_many_times_over_comes_back_to_the_slot_with_a_log_no_longer_than_twice_its_size(
    widths: list[int],
) -> None:
    whole, resumed = Replay(capacity=5, length=3), Replay(capacity=5, length=3)
    for step, width in enumerate(widths):
        entries = numbered(10 * step, width)
        whole.add(*entries)
        resumed.add(*entries)
        again = Replay(capacity=5, length=3)
        again.load_state_dict(resumed.state_dict())
        resumed = again
    assert len(whole) == len(resumed)
    assert torch.equal(whole.rewards, resumed.rewards)
    assert sum(len(rewards) for _, rewards in whole.state_dict()["entries"]) <= 10


def test_keep_best_forgets_the_worst_half_and_keeps_the_order_of_the_rest() -> None:
    seen = {f"p{i}": float(i % 7) for i in range(9)}
    keep_best(seen, most=5)
    assert len(seen) == 9
    seen["last"] = 9.0
    keep_best(seen, most=5)
    assert sorted(seen.values(), reverse=True) == [9.0, 6.0, 5.0, 4.0, 3.0]
    assert list(seen)[-1] == "last"

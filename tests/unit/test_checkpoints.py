"""A save costs what is new: it does not grow with the history of a run, and nothing is lost by that."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hardprompt.lms.policy import PolicyLM
from hardprompt.optimizers.best_of_n import BestOfN
from hardprompt.optimizers.qlearning.learner import QLearner
from hardprompt.optimizers.random_search import RandomSearch
from hardprompt.search.engine import Progress, optimize
from hardprompt.search.files import StateStore
from hardprompt.search.rewards import Cached
from tests.conftest import Tiny

BUILD: dict[str, Any] = {
    "pin": lambda policy: QLearner(policy=policy, length=3, top_k=300, hidden=8, proposals=8, batch=16),
    "best-of-n": lambda policy: BestOfN(policy=policy, length=3, proposals=8),
    "random": lambda policy: RandomSearch(policy=policy, length=3, proposals=8),
}


class Letters:
    """A number for each of four letters, and another for each prompt."""

    items = 4

    def score(self, prompts: list[str], items: list[int] | None = None) -> Tensor:
        rows = torch.tensor([[float(p.count(c)) + len(p) / 7 for c in "aeio"] for p in prompts]).double()
        return rows if items is None else rows[:, items]

    def aggregate(self, scores: Tensor, _: Sequence[int] | None = None) -> Tensor:
        return scores.mean(-1)

    def __call__(self, prompts: list[str]) -> Tensor:
        return self.aggregate(self.score(prompts))


def sizes(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in folder.iterdir()} if folder.is_dir() else {}


@pytest.mark.parametrize("method", BUILD)
def test_the_bytes_of_a_save_do_not_grow_with_the_run(tmp_path: Path, tiny_causal: Tiny, method: str) -> None:
    agent = BUILD[method](PolicyLM(tiny_causal.model, tiny_causal.tokenizer, tokens="any"))
    reward, validate, store, written = Cached(Letters()), Cached(Letters()), StateStore(tmp_path / "c"), []

    def save(at: Progress) -> None:
        before = sizes(tmp_path / "c")
        state = {"progress": at.state_dict(), "optimizer": agent.state_dict()}
        store.save(at.step, {**state, "reward": reward.state_dict(), "validation": validate.state_dict()})
        after = sizes(tmp_path / "c")  # what is not a log is written whole
        written.append(sum(n - before.get(name, 0) * name.startswith("log-") for name, n in after.items()))

    result = optimize(agent, reward, evaluations=8 * 81, validate=validate, validate_every=2, save=save, save_every=4)
    assert len(result.trials) > 10
    first, last = written[2:7], written[-6:-1]
    assert sum(last) <= 1.1 * sum(first), written
    total = sum(sizes(tmp_path / "c").values())
    assert max(itertools.islice(written, 2, None)) < total / 2 or method == "pin"  # its networks are written whole


@pytest.mark.parametrize("kept", [3, 12])
def test_a_memory_that_forgets_has_a_log_that_stays_short(kept: int, tmp_path: Path) -> None:
    whole, store = Cached(Letters(), kept=kept), StateStore(tmp_path / "c")
    for step in range(40):
        whole([f"{'aeio'[step % 4] * (step % 5)} {step} {i}" for i in range(3)])
        store.save(step, whole.state_dict())
        resumed = Cached(Letters(), kept=kept)
        resumed.load_state_dict(StateStore(tmp_path / "c").load() or {})
        assert str(resumed.state_dict()) == str(whole.state_dict())
        assert list(resumed._known) == list(whole._known)
        assert sum(len(entry[0]) for entry in whole.state_dict()["pairs"] if not isinstance(entry, int)) <= 2 * kept + 3

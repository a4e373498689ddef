"""The learner's first steps on the tiny model, as they were when last looked at.

A change that moves them is not wrong, but it moves results: run `make results` again, then write the file anew with
``python -m tests.golden.test_trajectory``.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from hardprompt.lms.policy import PolicyLM
from hardprompt.optimizers.qlearning.learner import QLearner
from hardprompt.search.engine import Step, optimize

RECORDED = Path(__file__).parent / "trajectory.json"
LOSSES = ("monte_carlo", "single_step", "path_consistency")


def first_steps(model: Any, tokenizer: Any, loss: str) -> list[dict[str, Any]]:
    steps: list[Step] = []
    learner = QLearner(
        policy=PolicyLM(model, tokenizer),
        length=3,
        seed=1,
        prior=0.3,
        top_k=50,
        loss=loss,
        learning_rate=1e-3,
        updates=2,
    )
    worth = {c: float(i) for i, c in enumerate("abcdefghijklmnopqrstuvwxyz")}
    optimize(
        learner,
        lambda prompts: torch.tensor([sum(worth.get(c, 0.0) for c in p) for p in prompts]),
        evaluations=128,
        callbacks=[steps.append],
    )
    return [{"prompts": s.prompts, "rewards": s.rewards, "loss": s.log["loss"]} for s in steps]


@pytest.mark.parametrize("loss", LOSSES)
def test_the_first_steps_are_as_recorded(tiny_causal: Any, loss: str) -> None:
    seen = first_steps(*tiny_causal, loss)
    recorded = json.loads(RECORDED.read_text())[loss]
    assert [s["prompts"] for s in seen] == [s["prompts"] for s in recorded]
    assert [s["rewards"] for s in seen] == [s["rewards"] for s in recorded]
    torch.testing.assert_close(
        torch.tensor([s["loss"] for s in seen]), torch.tensor([s["loss"] for s in recorded]), rtol=1e-3, atol=1e-5
    )


if __name__ == "__main__":
    from tests.conftest import make_tiny, make_tokenizer

    recorded = {loss: first_steps(make_tiny("llama"), make_tokenizer(), loss) for loss in LOSSES}
    RECORDED.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

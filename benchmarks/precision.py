"""Whether half precision changes what a search finds: best-of-N, whose prompts do not depend on their rewards.

    python benchmarks/precision.py      # three seeds on film reviews, a few minutes

The same 96 prompts are scored on the training texts in float32 and in the device's half precision; the best eight by
each are validated in float32, and the prompt is chosen.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from hardprompt.cli import demo
from hardprompt.lms.placing import device, half
from hardprompt.runs import run
from hardprompt.search.choice import choose
from hardprompt.search.engine import optimize

EVALUATIONS = 96


def main() -> int:
    dtype = half(device())
    if dtype is None:
        print("this device has no native half precision", file=sys.stderr)
        return 2
    for seed in (0, 1, 2):
        rewards, chosen, validated = [], [], []
        with tempfile.TemporaryDirectory() as folder:
            paths = demo.write_data(Path(folder), seed=seed)
            base = demo.config(paths, method="best-of-n", seed=seed, evaluations=EVALUATIONS)
            for precision in ("float32", str(dtype).removeprefix("torch.")):
                session = run.prepare(replace(base, precision=precision))
                outcome = optimize(
                    session.optimizer, session.reward, evaluations=EVALUATIONS, validate=session.validate,
                    validate_every=10**6,
                )  # fmt: skip
                rewards.append(torch.tensor([r for _, r in session.reward.state_dict()["known"]]))
                validated.append({t.prompt for t in outcome.trials})
                chosen.append(choose(outcome.trials, demo.VALIDATION, session.policy_lm.perplexity).prompt)
        difference = (rewards[0] - rewards[1]).abs()
        print(
            f"seed {seed}: rewards differ by {float(difference.mean()):.2f} on average, {float(difference.max()):.2f} "
            f"at most (standard deviation {float(rewards[0].std()):.1f}); {len(validated[0] & validated[1])} "
            f"of {len(validated[0])} validated prompts are the same; chosen: {chosen[0]!r} and {chosen[1]!r}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Whether half precision changes what a search finds: best-of-N, whose prompts do not depend on their rewards.

    python benchmarks/precision.py      # three seeds on film reviews, a few minutes

The same 96 prompts are scored on the training texts in float32 and in the device's half precision; the best eight by
each are validated in float32, and the prompt is chosen.
"""

import sys
import tempfile
from pathlib import Path

import torch

from hardprompt.cli import demo
from hardprompt.data.films import write_data
from hardprompt.lms.models import Models
from hardprompt.lms.placing import device, half
from hardprompt.runs import prepare

EVALUATIONS = 96


def main() -> int:
    dtype = half(device())
    if dtype is None:
        print("this device has no native half precision", file=sys.stderr)
        return 2
    models = Models(keep=True)
    for seed in (0, 1, 2):
        rewards, chosen, validated = [], [], []
        with tempfile.TemporaryDirectory() as folder:
            paths = write_data(Path(folder), seed=seed)
            recipe = demo.recipe(paths, method="best-of-n", seed=seed, evaluations=EVALUATIONS)
            for precision in ("float32", str(dtype).removeprefix("torch.")):
                search, steps = prepare(recipe.changed(precision=precision), models=models), []
                found = search.run(evaluations=EVALUATIONS, validate_every=10**6, callbacks=[steps.append])
                rewards.append(torch.tensor([reward for step in steps for reward in step.rewards]))
                validated.append({trial.prompt for trial in found.trials})
                chosen.append(search.task.choose(found.trials, search.policy_lm.perplexity).prompt)
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

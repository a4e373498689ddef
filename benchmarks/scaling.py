"""How the cost of a step grows, fitted and plotted.

    python benchmarks/scaling.py            # prompts, examples, lengths, vocabulary, replay: a few minutes
    python benchmarks/scaling.py long       # 20,000 steps on a tiny model: time and memory of a step
    python benchmarks/scaling.py --draw     # no measurement: docs/figures/scaling.png from docs/performance.json

The reward is SmolLM2's (real weights) in the precision that a search would use; vocabularies are tiny models of random
weights. Each point is the median of three turns, the points of a curve taken in turn.
"""

import argparse
import itertools
import json
import math
import resource
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hardprompt import optimizers
from hardprompt.data.films import TEMPLATE, VERBALIZERS, films
from hardprompt.data.tables import Example
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.load import load_causal
from hardprompt.lms.placing import search_copy
from hardprompt.lms.policy import PolicyLM
from hardprompt.optimizers.qlearning.learner import QLearner
from hardprompt.optimizers.qlearning.prefix import proper_prefixes
from hardprompt.search.engine import Proposal, Step, optimize
from hardprompt.search.rewards import Cached
from hardprompt.search.writing import write_json
from hardprompt.tasks.classify.reward import Classification
from hardprompt.tasks.template import Template

DOCS = Path(__file__).parents[1] / "docs"
TURNS = 3
AXES = {
    "prompts": (2, 4, 8, 16, 32),
    "examples": (4, 8, 16, 32, 64),
    "prompt_length": (2, 4, 8, 16),
    "text_length": (16, 32, 64, 128, 256),
    "vocabulary": (1_000, 4_000, 16_000),
    "replay": (300, 1_000, 3_000, 10_000, 30_000),
}
BASE = {"prompts": 8, "examples": 8, "prompt_length": 5, "text_length": 32}
STEPS = 20_000


class Reward:
    """Calls of the reward at one point: so many random prompts of so many tokens on so many texts of such a length."""

    def __init__(self) -> None:
        model, self.tokenizer = load_causal("embedded:smollm2")
        self.lm, self.precision = search_copy(CausalLM(model, self.tokenizer), "auto")
        words = " ".join(text for text, _, _ in films())
        self.ids = self.tokenizer(words[:100_000])["input_ids"]

    def __call__(self, prompts: int, examples: int, prompt_length: int, text_length: int) -> Callable[[], Any]:
        texts = [self.tokenizer.decode(self.ids[i * 300 : i * 300 + text_length]) for i in range(examples)]
        task = Classification(
            lm=self.lm, examples=[Example(t, "negative") for t in texts], template=Template(TEMPLATE),
            verbalizers=VERBALIZERS,
        )  # fmt: skip
        generator = torch.Generator().manual_seed(prompts * prompt_length)
        rows = torch.randint(1000, 20_000, (prompts, prompt_length), generator=generator).tolist()
        filled = [self.tokenizer.decode(row) for row in rows]
        return lambda: task(filled)


def learner_of(model: Any, tokenizer: Any, **settings: Any) -> QLearner:
    policy = PolicyLM(model, tokenizer, tokens="any", spaced=False)
    top_k = min(10_000, policy.vocabulary_size // 2)
    return QLearner(policy=policy, **{**optimizers.find("pin").settings, "top_k": top_k, **settings})


def update_of(learner: QLearner, held: int, vocabulary: int) -> Callable[[], Any]:
    """One update from a replay of that many random prompts, which share hardly any prefix."""
    ids = torch.randint(1, vocabulary, (held, 5), generator=torch.Generator().manual_seed(held)).tolist()
    prefixes = proper_prefixes([tuple(row) for row in ids])
    for i in range(0, len(prefixes), 1000):
        learner.tree.states(prefixes[i : i + 1000])
    learner.tell(Proposal([""] * held, {"ids": ids, "support_size": 0.0}), torch.randn(held))
    nothing = Proposal([], {"ids": [], "support_size": 0.0})  # nothing new: one update from what is held
    return lambda: learner.tell(nothing, torch.zeros(0))


def points(axis: str) -> dict[int, Callable[[], Any]]:
    """What to time at each value of an axis."""
    if axis == "vocabulary":
        from shapes import tiny

        return {v: partial(learner_of(*tiny(v)).ask, 16) for v in AXES[axis]}
    if axis == "replay":
        from shapes import tiny

        model, tokenizer = tiny(1000)
        vocabulary = model.config.vocab_size
        return {n: update_of(learner_of(model, tokenizer, normalise="none"), n, vocabulary) for n in AXES[axis]}
    reward = Reward()
    return {value: reward(**{**BASE, axis: value}) for value in AXES[axis]}


def measure(axis: str) -> dict[str, Any]:
    calls = points(axis)
    seconds: dict[int, list[float]] = {value: [] for value in calls}
    for turn in range(TURNS + 1):
        for value, call in calls.items():
            began = time.perf_counter()
            call()
            if turn:
                seconds[value].append(time.perf_counter() - began)
    medians = {value: statistics.median(s) for value, s in seconds.items()}
    return {"values": list(medians), "seconds": list(medians.values()), "exponent": slope(medians)}


def slope(medians: dict[int, float]) -> float:
    """Of the straight line through the logarithms: 1 is proportional, 0 is flat."""
    x, y = [math.log(v) for v in medians], [math.log(s) for s in medians.values()]
    mx, my = statistics.fmean(x), statistics.fmean(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum((a - mx) ** 2 for a in x)


def long_run() -> dict[str, Any]:
    """Seconds and resident memory over 20,000 steps of a policy that keeps finding new prompts, in parts of 500."""
    from shapes import tiny

    # The temperature keeps the policy wide, so that most prompts are new and every memory fills up.
    agent = learner_of(*tiny(1000), top_k=200, alpha=50.0, batch=64, replay=50_000)
    memo = Cached(lambda prompts: torch.tensor([float(p.count("e")) for p in prompts]))
    times, memory = [time.process_time()], []  # of this process: it runs for long, and others may run beside it

    def tick(step: Step) -> None:
        if step.number % 500 == 0:
            times.append(time.process_time())
            memory.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6)

    optimize(agent, memo, evaluations=STEPS * 16, validate_every=10**9, callbacks=[tick])
    per_step = [(b - a) / 500 for a, b in itertools.pairwise(times)]
    return {"steps": STEPS, "seconds_per_step": per_step, "memory_mb": memory, "prefixes": len(agent.tree)}


def draw(found: dict[str, Any]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator, ScalarFormatter

    figure, axes = pyplot.subplots(2, 4, figsize=(14, 6.5), layout="constrained")
    what = {"vocabulary": "sampling 16 prompts", "replay": "one update"}
    for axis, plot in zip(AXES, axes.flat, strict=False):
        if axis in found:
            row = found[axis]
            plot.loglog(row["values"], [1e3 * s for s in row["seconds"]], "o-")
            plot.set(xlabel=axis.replace("_", " "), ylabel="milliseconds", ylim=_limits(row["seconds"]))
            plot.set_xticks(row["values"], [f"{v:,}" for v in row["values"]], fontsize=8)
            plot.minorticks_off()
            plot.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            plot.yaxis.set_major_formatter(ScalarFormatter())
            plot.set_title(f"{what.get(axis, 'reward')}: exponent {row['exponent']:.2f}", fontsize=10)
    if "long" in found:
        row = found["long"]
        x = [500 * (i + 1) for i in range(len(row["memory_mb"]))]
        for plot, values, label in (
            (axes.flat[6], [1e3 * s for s in row["seconds_per_step"]], "milliseconds a step"),
            (axes.flat[7], row["memory_mb"], "resident memory (MB)"),
        ):
            plot.plot(x, values)
            plot.set(xlabel="step", ylabel=label, ylim=(0, None))
            plot.set_title("a long run", fontsize=10)
    for plot in axes.flat:
        plot.set_visible(plot.has_data())
    (DOCS / "figures").mkdir(exist_ok=True)
    figure.savefig(DOCS / "figures" / "scaling.png", dpi=100)


def _limits(seconds: list[float]) -> tuple[float, float]:
    """At least a factor of ten, so that what is flat looks flat."""
    middle = math.sqrt(min(seconds) * max(seconds)) * 1e3
    half = max(math.sqrt(10.0), math.sqrt(max(seconds) / min(seconds)) * 1.3)
    return middle / half, middle * half


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("axes", nargs="*", metavar="AXIS", help=f"{', '.join(AXES)}, long; all but long if none")
    parser.add_argument("--draw", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    for axis in arguments.axes:
        if axis not in (*AXES, "long"):
            parser.error(f"unknown axis {axis!r}; valid: {', '.join(AXES)}, long")
    path = DOCS / "performance.json"
    document = json.loads(path.read_text()) if path.is_file() else {}
    found = document.setdefault("scaling", {})
    for axis in [] if arguments.draw else arguments.axes or AXES:
        found[axis] = long_run() if axis == "long" else measure(axis)
        print(axis, found[axis], flush=True)
        write_json(path, document)
    draw(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What the proof of how a causal model is run adds to its load.

    python benchmarks/load.py      # a minute; the embedded model must have been used once before

Each load is timed with the proof and without it, in one process, by the clock and by the processor's time: the least of
each is nearest to a quiet machine. One token's own forward is timed beside them: it reads every weight once.
"""

import argparse
import itertools
import statistics
import time
from collections import defaultdict

import torch

from hardprompt.lms.causal import CausalLM
from hardprompt.lms.load import load_causal


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="embedded:smollm2")
    parser.add_argument("--loads", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    parts = defaultdict[str, list[tuple[float, float]]](list)
    for turn in range(arguments.loads + 1):
        times = [_now()]
        model, tokenizer = load_causal(arguments.model)
        times.append(_now())
        lm = CausalLM(model, tokenizer)
        times.append(_now())
        lm.over(model)  # the same, proved already
        times.append(_now())
        with torch.no_grad():
            model(input_ids=torch.tensor([[5]]))
        times.append(_now())
        load, proof, bare, token = ((end[0] - begin[0], end[1] - begin[1]) for begin, end in itertools.pairwise(times))
        if turn:  # the first warms up
            parts["with the proof"].append((load[0] + proof[0], load[1] + proof[1]))
            parts["without"].append((load[0] + bare[0], load[1] + bare[1]))
            parts["the proof"].append((proof[0] - bare[0], proof[1] - bare[1]))
            parts["one token"].append(token)
    for name, found in parts.items():
        clock, processor = zip(*found, strict=True)
        print(
            f"{name}: {statistics.median(clock):.2f} s, at least {min(clock):.2f}; "
            f"of the processor {statistics.median(processor):.2f} s, at least {min(processor):.2f}"
        )
    return 0


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


if __name__ == "__main__":
    raise SystemExit(main())

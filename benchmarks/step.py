"""What a step costs: the algorithm as written (`plain.py`) against hardprompt, in one process, turn by turn.

    python benchmarks/step.py                  # every part of a step, and the step
    python benchmarks/step.py update step      # some of them
    python benchmarks/step.py run              # the first 300 steps of a real run; about ten minutes
    python benchmarks/step.py --json FILE      # also as JSON
    python benchmarks/step.py --device cuda    # OPT-125M, with task models of RoBERTa-large's and OPT-1.3B's shape

On a CPU the models are SmolLM2 (real weights) and, for the masked case, random weights of RoBERTa-base's shape. A ratio
is the median time of the plain version over the median of ours, after a first turn that compares both results (of an
update, its loss). The floor is the larger of the arithmetic that cannot be avoided over the machine's measured matrix
rate, and the bytes over its measured bandwidth.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from cases import CASES, LAYOUTS, LENGTH, PROMPTS, TIMED_INSIDE, UNLIKE, Bench, Case
from pages import fill, performance

from hardprompt import optimizers
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.placing import half, search_copy
from hardprompt.lms.policy import PolicyLM
from hardprompt.optimizers.qlearning.learner import QLearner
from hardprompt.search.engine import optimize
from hardprompt.search.rewards import Cached
from hardprompt.search.writing import write_json
from hardprompt.tasks.template import Template

TOLERANCE = 1e-5  # of a result in float32, relative to its largest entry


def machine(device: str) -> dict[str, float]:
    """Matrix rate in float32 and half precision (operations a second), and bandwidth (bytes a second)."""
    found = {}
    dtypes = {"float32": torch.float32, "half": half(torch.device(device).type)}
    for name, dtype in dtypes.items():
        if dtype is not None:
            a, b = (torch.randn(2048, 2048, device=device).to(dtype) for _ in range(2))
            found[name] = 2 * 2048**3 / min(_times(lambda a=a, b=b: a @ b, 5, device))
    x = torch.randn(64_000_000, device=device)
    found["bandwidth"] = x.nbytes / min(_times(lambda: x.sum(), 5, device))
    return found


def _times(call: Callable[[], Any], count: int, device: str) -> list[float]:
    call()
    times = []
    for _ in range(count):
        times.append(_time(call, device)[0])
    return times


def _time(call: Callable[[], Any], device: str) -> tuple[float, Any]:
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    out = call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began, out


def compare(name: str, case: Case, turns: int, rates: dict[str, float], device: str) -> dict[str, Any]:
    """Turn by turn, the plain version, ours, and ours in half precision; the first turn warms up and checks."""
    calls = {"plain": case.plain, "ours": case.ours, "half": case.half}
    times: dict[str, list[float]] = {k: [] for k, call in calls.items() if call is not None}
    difference = {}
    for turn in range(turns + 1):
        case.fresh()
        out = {}
        for kind in times:
            seconds, out[kind] = _time(calls[kind], device)
            if name in TIMED_INSIDE:
                seconds = float(out[kind])
            if turn:
                times[kind].append(seconds)
        if turn == 0 and name not in UNLIKE:
            size = float(out["plain"].abs().max())
            difference = {
                k: float((out[k].cpu() - out["plain"].cpu()).abs().max()) / size for k in times if k != "plain"
            }
            if device == "cpu" and difference["ours"] > TOLERANCE:
                raise SystemExit(f"{name}: ours differs from the plain version by {difference['ours']:.1e}")
    seconds = {k: statistics.median(v) for k, v in times.items()}
    row = {
        "case": name, "plain_s": seconds["plain"], "ours_s": seconds["ours"],
        "ratio": seconds["plain"] / seconds["ours"], "difference": difference, "turns": turns,
        **case.extra,
    }  # fmt: skip
    if case.flops or case.bytes:
        floor = max(case.flops / rates["float32"], case.bytes / rates["bandwidth"])
        row |= {"floor_s": floor, "times_floor": seconds["ours"] / floor}
    if "half" in seconds:
        row |= {"half_s": seconds["half"], "ratio_bf16": seconds["plain"] / seconds["half"]}
        if case.flops:
            floor = max(case.flops / rates["half"], case.bytes / 2 / rates["bandwidth"])
            row["times_floor_bf16"] = seconds["half"] / floor
    return row


def run(bench: Bench, steps: int, step: dict[str, Any]) -> dict[str, Any]:
    """The first steps of a real run of `pin-prior`, memo and prefix tree growing, over as many plain steps.

    The plain version remembers nothing, so each of its steps costs the same: it is timed in `step`, with one update; so
    ours makes one update a step here too.
    """
    template = Template(LAYOUTS["reward_causal_suffix"])
    lm = CausalLM(bench.task_model, bench.tokenizer)
    result: dict[str, Any] = {"case": "run", "steps": steps}
    for precision in ("float32", "bfloat16"):
        if precision == "bfloat16" and half(bench.device) is None:
            continue
        task = Cached(bench.task(search_copy(lm, precision)[0], template))
        start = template.before_prompt(bench.examples[0].text)
        policy = PolicyLM(bench.model, bench.tokenizer, start=start, spaced=False)
        settings = {**optimizers.find("pin-prior").settings, "redraws": 0, "updates": 1}
        learner = QLearner(policy=policy, length=LENGTH, **settings)
        seconds: list[float] = []
        last = [time.perf_counter()]

        def tick(_: Any, seconds: list[float] = seconds, last: list[float] = last) -> None:
            seconds.append(time.perf_counter() - last[0])
            last[0] = time.perf_counter()

        optimize(
            learner, task, evaluations=steps * PROMPTS, validate=lambda p: torch.zeros(len(p)),
            validate_every=10**9, callbacks=[tick],
        )  # fmt: skip
        suffix = "" if precision == "float32" else "_bf16"
        result |= {
            f"ratio{suffix}": step["plain_s"] * len(seconds) / sum(seconds),
            f"ratio_first_50{suffix}": step["plain_s"] * len(seconds[:50]) / sum(seconds[:50]),
            f"seconds{suffix}": [round(s, 4) for s in seconds],
            f"scored{suffix}": len(task),
        }
    return result


def memory() -> dict[str, Any]:
    """Peak resident memory of one whole step in a process of its own, above that of the loaded models."""
    found = {}
    for kind in ("plain", "ours"):
        out = subprocess.run(
            [sys.executable, __file__, "--peak", kind], check=True, capture_output=True, text=True
        ).stdout
        found[kind] = int(out.split()[-1])
    return {"case": "memory", **{f"{k}_mb": v / 1e6 for k, v in found.items()}, "share": found["ours"] / found["plain"]}


def peak(kind: str) -> None:
    bench = Bench("cpu")
    before = _status("VmRSS")
    case = bench.step(quick=False)
    if kind == "plain":
        before = _status("VmRSS")  # the keys and values of the texts are ours only
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is held now
    (case.plain if kind == "plain" else case.ours)()
    print(_status("VmHWM") - before)


def _status(name: str) -> int:
    """Bytes, from /proc/self/status."""
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def keyed(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """By case, with the worst of several kinds of one part under its own name."""
    found = {r["case"]: r for r in rows}
    for part, kinds in (
        ("sparsemax", [c for c in CASES if "sparsemax" in c]),
        ("update", [c for c in CASES if "update" in c]),
    ):
        if all(k in found for k in kinds):
            found[part] = min((found[k] for k in kinds), key=lambda r: r["ratio"])
    return found


def measure(names: Sequence[str], arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    rates = machine(arguments.device)
    yield {"case": "machine", **rates, "threads": torch.get_num_threads(), "torch": torch.__version__}
    bench = Bench(arguments.device)
    step: dict[str, Any] | None = None
    for name in names:
        if name == "run":
            step = step or compare("step", bench.step(), 1, rates, arguments.device)
            yield run(bench, arguments.steps, step)
        elif name == "memory":
            yield memory()
        else:
            heavy = {**dict.fromkeys(LAYOUTS, 1), "reward_causal_suffix": 3, "step": 2}
            turns = min(arguments.turns, heavy.get(name, arguments.turns))
            row = compare(name, CASES[name](bench), turns, rates, arguments.device)
            step = row if name == "step" else step
            yield row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "cases", nargs="*", metavar="CASE", help=f"{', '.join(CASES)}, memory, run; all but run if none"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="add the rows to this file, by case")
    parser.add_argument("--page", type=Path, metavar="FILE", help="replace the table in this Markdown file")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--turns", type=int, default=5, help="of each version; rewards and steps have one to three")
    parser.add_argument("--steps", type=int, default=300, help="of the run")
    parser.add_argument("--peak", choices=("plain", "ours"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.peak:
        peak(arguments.peak)
        return 0
    known = [*CASES, "memory", "run"]
    for name in arguments.cases:
        if name not in known:
            parser.error(f"unknown case {name!r}; valid: {', '.join(known)}")
    rows = []
    known_rows = json.loads(arguments.json.read_text()) if arguments.json and arguments.json.is_file() else {}
    for row in measure(arguments.cases or [*CASES, "memory"], arguments):
        rows.append(row)
        if arguments.json:
            write_json(arguments.json, {**known_rows, **keyed(rows)})
        print({k: v for k, v in row.items() if not isinstance(v, list)}, file=sys.stderr, flush=True)
    found = {**known_rows, **keyed(rows)}
    print(performance(found))
    if arguments.page:
        fill(arguments.page, "table", performance(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

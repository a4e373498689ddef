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
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import plain
import torch
from pages import fill
from torch import Tensor

from hardprompt import optimizers
from hardprompt.cli import demo
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.load import load_causal
from hardprompt.lms.masked import MaskedLM
from hardprompt.lms.placing import half, search_copy
from hardprompt.lms.policy import PolicyLM
from hardprompt.optimizers.qlearning.entropy import TsallisEntropy
from hardprompt.optimizers.qlearning.learner import QLearner
from hardprompt.optimizers.qlearning.prefix import proper_prefixes
from hardprompt.search.engine import optimize
from hardprompt.search.files import write_json
from hardprompt.search.rewards import Cached
from hardprompt.data.tables import Example
from hardprompt.tasks.classify.reward import Classification
from hardprompt.tasks.template import Template

PROMPTS, TEXTS, LENGTH, REPLAYED, TOP_K = 16, 32, 5, 256, 10_000
SETTINGS: dict[str, Any] = dict(optimizers.find("pin").settings)
LAYOUTS = {
    "reward_causal_suffix": "Review: {text}\\n{prompt}",
    "reward_causal_middle": "Review: {text}\\n{prompt} In one word, it is",
    "reward_causal_prefix": "{prompt}\\nReview: {text}\\nSentiment:",
    "reward_masked": "{text} {prompt} {mask}.",
}
TOLERANCE = 1e-5  # of a result in float32, relative to its largest entry


@dataclass
class Case:
    """One thing computed in two ways; ``half`` is ours again where half precision applies."""

    plain: Callable[[], Tensor]
    ours: Callable[[], Tensor]
    half: Callable[[], Tensor] | None = None
    scale: float = 1.0  # the plain version did 1/scale of the work
    flops: float = 0.0
    bytes: float = 0.0
    fresh: Callable[[], None] = lambda: None  # before each turn
    extra: dict[str, Any] = field(default_factory=dict)


class Bench:
    """Models and data of the benchmark, loaded once."""

    def __init__(self, device: str) -> None:
        self.device = device
        if device == "cuda":
            from shapes import gpu_models

            self.model, self.tokenizer, self.task_model = gpu_models()
        else:
            self.model, self.tokenizer = load_causal("embedded:smollm2")
            self.task_model = self.model
        rows = demo.films()
        each = [[r for r in rows if r[1] == label][: TEXTS // 2] for label in sorted(demo.VERBALIZERS)]
        self.examples = [Example(text, label) for part in each for text, label, _ in part]
        self.policy = PolicyLM(self.model, self.tokenizer, tokens="any", spaced=False)
        learner = self.learner("monte_carlo")
        self.prompts = [self.policy.text(ids) for ids in learner._sample(PROMPTS)[0]]

    def learner(self, loss: str) -> QLearner:
        return QLearner(policy=self.policy, length=LENGTH, **{**SETTINGS, "loss": loss})

    def plain_learner(self, loss: str) -> plain.PlainLearner:
        start = self.policy._start
        return plain.PlainLearner(
            self.model, start, self.policy.follows.to(self.device), length=LENGTH, top_k=TOP_K, loss=loss
        )

    def sparsemax(self, support: int) -> Case:
        """64 states: the plain version sorts the vocabulary, -inf where it is filtered; ours takes out the 10,000."""
        few = _with_support(support).to(self.device)
        whole = torch.full((len(few), self.policy.vocabulary_size), -torch.inf, device=self.device)
        columns = torch.randperm(whole.shape[1], generator=torch.Generator().manual_seed(0))[:TOP_K].sort().values
        columns = columns.to(self.device)
        whole[:, columns] = few
        entropy = TsallisEntropy(2.0)
        return Case(
            lambda: plain.sparsemax(whole)[:, columns], lambda: entropy.policy(whole.index_select(1, columns)),
            bytes=3 * 4 * few.numel(),
        )  # fmt: skip

    def update(self, loss: str) -> Case:
        learner, other = self.learner(loss), self.plain_learner(loss)
        ids = self._replayed(learner)
        prefixes = proper_prefixes([tuple(row) for row in ids.tolist()])
        learner.tree.states(prefixes)
        if loss == "single_step":
            learner.tree.actions_of(prefixes)
        rewards = torch.randn(REPLAYED, generator=torch.Generator().manual_seed(0))
        n, width, hidden = len(prefixes), self.policy.hidden_size, SETTINGS["hidden"]
        flops = 2.0 * n * width * hidden * 5  # two products forward, three backward: none for the frozen states
        if loss == "single_step":
            flops += 2.0 * n * width * (2 * hidden + self.policy.vocabulary_size)

        def same() -> None:
            learner.online.load_state_dict(other.online.state_dict())
            learner.target.load_state_dict(other.target.state_dict())

        return Case(
            lambda: torch.tensor([other.update(ids.to(self.device), rewards.to(self.device))]),
            lambda: learner._update(ids, rewards)[None].cpu(),
            flops=flops, bytes=4.0 * (n * width + 7 * 2 * width * hidden), fresh=same,
        )  # fmt: skip

    def _replayed(self, learner: QLearner) -> Tensor:
        """256 prompts with about 920 distinct prefixes, every token within the filter of its place."""
        generator = torch.Generator().manual_seed(1)
        prompts: list[tuple[int, ...]] = [()] * REPLAYED
        for place in range(LENGTH):
            choices = learner.tree.actions_of(prompts)
            most = 250 if place == 0 else TOP_K
            picks = torch.randint(most, (REPLAYED,), generator=generator).tolist()
            prompts = [(*p, int(a.ids[k])) for p, a, k in zip(prompts, choices, picks, strict=True)]
        return torch.tensor(prompts)

    def sampling(self) -> Case:
        def ours() -> Tensor:
            return torch.tensor(self.learner("monte_carlo")._sample(PROMPTS)[0])

        # Its draws come from another order of tokens, so only the work is the same, not the prompts.
        return Case(lambda: self.plain_learner("monte_carlo").sample(PROMPTS), ours)

    def reward(self, layout: str) -> Case:
        template = Template(LAYOUTS[layout])
        if layout == "reward_masked":
            from shapes import masked_model

            model, tokenizer = masked_model(self.tokenizer, large=self.device == "cuda")
            lm: Any = MaskedLM(model.to(self.device), tokenizer)
        else:
            model, tokenizer = self.task_model, self.tokenizer
            lm = CausalLM(model, tokenizer)
        dtype = half(torch.device(self.device).type)
        quick = search_copy(lm, str(dtype).removeprefix("torch."))[0] if dtype is not None else None
        ours, halved = (self._task(task_lm, template) for task_lm in (lm, quick))
        # What the default does is timed on a whole step, the other layouts on a quarter of one.
        prompts = self.prompts if layout == "reward_causal_suffix" else self.prompts[: PROMPTS // 4]
        before, placed = lm.tokens_run, []
        hook = model.base_model.register_forward_pre_hook(
            lambda _module, inputs, given: placed.append((inputs or (given["input_ids"],))[0].numel()), with_kwargs=True
        )
        ours(prompts)
        hook.remove()
        tokens = lm.tokens_run - before
        body = sum(p.numel() for name, p in model.named_parameters() if "embed" not in name and "head" not in name)
        passes = len(placed)
        return Case(
            lambda: plain.rewards(model, tokenizer, self.examples, template, demo.VERBALIZERS, prompts).double(),
            lambda: ours(prompts),
            (lambda: halved(prompts)) if quick is not None else None,
            flops=2.0 * tokens * body, bytes=4.0 * body * passes, extra={"padding": 1.0 - tokens / sum(placed)},
        )  # fmt: skip

    def _task(self, lm: Any, template: Template) -> Any:
        if lm is None:
            return None
        return Classification(lm=lm, examples=self.examples, template=template, verbalizers=demo.VERBALIZERS)

    def step(self, *, quick: bool = True) -> Case:
        """Sample 16 prompts, score them, update once."""
        template = Template(LAYOUTS["reward_causal_suffix"])
        lm = CausalLM(self.task_model, self.tokenizer)
        task = self._task(lm, template)
        halved = self._task(search_copy(lm, "bfloat16")[0], template) if quick and half(self.device) else None
        other = self.plain_learner("monte_carlo")
        # 256 prompts in the replay from the start, their prefixes known, as they are after the first steps.
        stored = self._replayed(self.learner("monte_carlo"))
        known = proper_prefixes([tuple(row) for row in stored.tolist()])

        def ours(reward: Any) -> Tensor:
            learner = self.learner("monte_carlo")
            learner._replay.add(stored, torch.randn(REPLAYED))
            learner.tree.states(known)
            began = time.perf_counter()
            proposal = learner.ask()
            learner.tell(proposal, reward(proposal.prompts))
            return torch.tensor([time.perf_counter() - began])

        def written() -> Tensor:
            began = time.perf_counter()
            ids = other.sample(PROMPTS)
            prompts = [self.policy.text(row) for row in ids.tolist()]
            plain.rewards(self.task_model, self.tokenizer, self.examples, template, demo.VERBALIZERS, prompts)
            other.update(stored.to(self.device), torch.randn(REPLAYED, device=self.device))
            return torch.tensor([time.perf_counter() - began])

        return Case(written, lambda: ours(task), None if halved is None else lambda: ours(halved))


def _with_support(support: int) -> Tensor:
    """Normal logits of 64 states by 10,000 tokens, scaled until so many of them are in the support on average."""
    x = torch.randn(64, TOP_K, generator=torch.Generator().manual_seed(support))
    if support >= TOP_K:
        return x * 1e-6
    low, high = 1e-4, 1e4
    for _ in range(60):
        middle = (low * high) ** 0.5
        wide = float((plain.sparsemax(x * middle) > 0).sum(-1).float().mean()) > support
        low, high = (middle, high) if wide else (low, middle)
    return x * high


CASES: dict[str, Callable[[Bench], Case]] = {
    **{f"sparsemax_{k}": (lambda b, k=k: b.sparsemax(k)) for k in (8, 70, TOP_K)},
    "update_single_step": lambda b: b.update("single_step"),
    "update_monte_carlo": lambda b: b.update("monte_carlo"),
    "sampling": lambda b: b.sampling(),
    **{name: (lambda b, name=name: b.reward(name)) for name in LAYOUTS},
    "step": lambda b: b.step(),
}
TIMED_INSIDE = ("step",)  # what they return is the time that counts
UNLIKE = ("sampling", "step")  # random draws: nothing to compare


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
        task = Cached(bench._task(search_copy(lm, precision)[0], template))
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


def table(found: dict[str, Any]) -> str:
    """The measured parts as Markdown."""
    lines = [
        "| part | plain (s) | ours (s) | ratio | times the floor | half (s) | ratio | times the floor |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in (*CASES, "run"):
        if name not in found:
            continue
        r = found[name]
        columns = ("plain_s", "ours_s", "ratio", "times_floor", "half_s", "ratio_bf16", "times_floor_bf16")
        cells = ["" if r.get(c) is None else f"{r[c]:.3g}" for c in columns]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    machine = found.get("machine", {})
    lines += ["", "One machine, {threads} threads: ".format(**machine) + ", ".join(
        f"{machine[k] / 1e9:,.0f} {unit}" for k, unit in (
            ("float32", "GFLOP/s in float32"), ("half", "in bfloat16"), ("bandwidth", "GB/s")
        ) if k in machine
    ) + "."] if machine else []  # fmt: skip
    if "memory" in found:
        lines.append(
            "Peak memory of a step above that of the loaded model: plain {plain_mb:,.0f} MB, ours {ours_mb:,.0f} MB, "
            "a share of {share:.2f}.".format(**found["memory"])
        )
    if "run" in found:
        r = found["run"]
        lines.append(f"The run: {r['scored']:,} distinct prompts in {r['steps']} steps; its first 50 steps")
        lines[-1] += f" have ratios {r['ratio_first_50']:.1f} and {r.get('ratio_first_50_bf16', math.nan):.1f} (half)."
    return "\n".join(lines)


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
    print(table(found))
    if arguments.page:
        fill(arguments.page, "table", table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The measured tables of docs/: from what stands in their JSON to Markdown, between the marks that wait for them there.

Every function that makes a table is pure: the JSON's values in, Markdown out. ``TABLES`` says which mark shows what.
"""

import itertools
import json
import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import calibrated
import torch

from hardprompt.compare import tables
from hardprompt.data import films
from hardprompt.search.writing import write_json, write_text
from hardprompt.tasks.intervals import bootstrap

DOCS = Path(__file__).parents[1] / "docs"
METHODS = ("pin-prior", "pin", "rlprompt", "best-of-n")
ALL_FILMS = "films, all"  # the test set of the comparison on films
FILM_BUDGET = 480  # evaluations of the comparison on films
SHORT_BUDGET = 96  # evaluations of the comparisons of settings
HAND_WRITTEN = {
    films.NAME: {"manual": films.MANUAL, "instruction": films.INSTRUCTION},
    "sst-2": {
        "manual": "The sentiment of this review is",
        "instruction": "Decide whether the critic liked the film. The answer is",
    },
    "cr": {
        "manual": "The sentiment of this review is",
        "instruction": "Decide whether the customer liked the product. The answer is",
    },
    "subj": {
        "manual": "The tone of this text is",
        "instruction": "Decide whether the text is subjective or objective. The answer is",
    },
    "agnews": {
        "manual": "The topic of this article is",
        "instruction": "Decide which section of the paper this is from. The answer is",
    },
}
DIRECTIONS = {"negative to positive": ("0", "1"), "positive to negative": ("1", "0")}
TASK_MODELS = {  # that rewrite, by what their cells begin with; with evaluations and methods
    "": ("embedded:smollm2", 96, METHODS),
    "gemma3-": ("embedded:gemma3", 48, ("pin-prior", "rlprompt", "best-of-n")),  # it takes ten minutes for 96
}
PARTS = (  # of a step, in the order of docs/performance.md
    "sparsemax_8", "sparsemax_70", "sparsemax_10000", "update_single_step", "update_monte_carlo", "sampling",
    "reward_causal_suffix", "reward_causal_middle", "reward_causal_prefix", "reward_masked", "step", "run",
)  # fmt: skip


def fill(page: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- name: begin -->`` and ``<!-- name: end -->``."""
    before, _, after = _parted(page, name)
    write_text(page, f"{before}<!-- {name}: begin -->\n\n{text.strip()}\n\n<!-- {name}: end -->{after}")


def between(page: Path, name: str) -> str:
    """What stands between ``<!-- name: begin -->`` and ``<!-- name: end -->``, without the blank lines around it."""
    return _parted(page, name)[1].strip()


def _parted(page: Path, name: str) -> tuple[str, str, str]:
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    inside, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"{page} has no place for {name!r}: {begin} and {end} are expected.")
    return before, inside, after


def hand_written(data: str) -> dict[str, str]:
    """The prompts that need no search, by name."""
    return {"empty": "", **HAND_WRITTEN["films" if data == ALL_FILMS else data]}


def tested_on(cell: dict[str, Any]) -> str:
    """The test set of a cell."""
    return ALL_FILMS if cell["data"] == "films" and cell["evaluations"] == FILM_BUDGET else str(cell["data"])


def result_rows(cells: Sequence[dict[str, Any]], tested: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The rows of each table of docs/results.md, by ``data/evaluations``."""
    found = {}
    for budget in sorted({c["evaluations"] for c in cells}, reverse=True):
        for name in sorted({c["data"] for c in cells}, key=lambda n: (n != "films", n)):
            chosen = [c for c in cells if c["evaluations"] == budget and c["data"] == name]
            if chosen:
                found[f"{name}/{budget}"] = _rows(chosen, tested)
    return found


def results(cells: Sequence[dict[str, Any]], tested: dict[str, Any]) -> str:
    """A table per budget and data set, and, but for the comparisons of settings, the default against the others."""
    parts = []
    for key, rows in result_rows(cells, tested).items():
        name, _, budget = key.rpartition("/")
        n = len(rows[0]["runs"][0]["right"])
        parts.append(f"### {name}, {budget} evaluations, {n} test texts\n\n{_result_table(rows)}\n")
        if int(budget) != SHORT_BUDGET and any(row["method"] == "pin-prior" for row in rows):
            parts.append(f"{_differences(rows)}\n")
    return "\n".join(parts)


def _rows(cells: Sequence[dict[str, Any]], tested: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per method (and settings) of a table's cells, averaged over its splits or seeds."""
    rows = []
    known = tested["right"][tested_on(cells[0])]
    for label, prompt in hand_written(cells[0]["data"]).items():
        if prompt in known:
            run = {"prompt": prompt, "right": known[prompt], "distinct": 0, "seconds": 0.0}
            rows.append({"method": label, "runs": [run]})
    groups: dict[str, list[dict[str, Any]]] = {}
    for cell in cells:
        label = " ".join([cell["method"], *(f"{k}={v}" for k, v in sorted(cell["settings"].items()))])
        groups.setdefault(label, []).append({**cell, "right": known[cell["prompt"]]})
    order = {m: i for i, m in enumerate(reversed(METHODS))}
    for label in sorted(groups, key=lambda g: (order.get(g.split()[0], 9), g)):
        rows.append({"method": label, "runs": groups[label]})
    for row in rows:
        accuracies = [r["right"].count("1") / len(r["right"]) for r in row["runs"]]
        nats = [torch.tensor(p).log().item() for r in row["runs"] if (p := tested["perplexity"][r["prompt"]])]
        row |= {
            "accuracy": statistics.fmean(accuracies), "accuracies": accuracies, "interval": bootstrap(_by_text(row)),
            "error": statistics.stdev(accuracies) / len(accuracies) ** 0.5 if len(accuracies) > 1 else None,
            "perplexity": float(torch.tensor(nats).mean().exp()) if nats else None,
            "distinct": statistics.fmean(r["distinct"] for r in row["runs"]),
            "seconds": statistics.fmean(r["seconds"] for r in row["runs"]),
            "prompts": [r["prompt"] for r in row["runs"]],
        }  # fmt: skip
    return rows


def _by_text(row: dict[str, Any]) -> Any:
    """How many of a row's runs are right on each text, as a share."""
    return torch.tensor([[float(c) for c in r["right"]] for r in row["runs"]]).mean(0).numpy()


def _result_table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a Markdown table; perplexities are averaged as logarithms."""
    lines = [
        "| method | runs | accuracy (s.e.) | 95 % interval | perplexity | distinct prompts | seconds | prompts |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        error = f" ({row['error']:.3f})" if row["error"] is not None else ""
        low, high = row["interval"]
        perplexity = "-" if row["perplexity"] is None else f"{row['perplexity']:,.0f}"
        prompts = "; ".join(f"`{p}`" if p else "(none)" for p in row["prompts"]).replace("|", "\\|")
        lines.append(
            f"| {row['method']} | {len(row['runs'])} | {row['accuracy']:.3f}{error} | {low:.3f} to {high:.3f} | "
            f"{perplexity} | {row['distinct']:.0f} | {row['seconds']:.0f} | {prompts} |"
        )
    return "\n".join(lines)


def _differences(rows: Sequence[dict[str, Any]]) -> str:
    """By how much the default is above each other row on the same texts, with a paired bootstrap over the texts."""
    (default,) = (_by_text(row) for row in rows if row["method"] == "pin-prior")
    parts = []
    for row in rows:
        if row["method"] not in ("pin-prior", "empty", "instruction"):
            above = default - _by_text(row)
            low, high = bootstrap(above)
            parts.append(f"{row['method']} {above.mean():+.3f} ({low:+.3f} to {high:+.3f})")
    return f"`pin-prior` minus the others, paired by text: {', '.join(parts)}."


def comparison(summary: dict[str, Any]) -> tuple[str, str]:
    """A comparison's overview with its tests over all data sets, and the tables of each data set."""
    first = f"### {summary['data'][0]['data']}, "  # the overview and its tests come before the data sets
    overview, _, single = tables.markdown(summary).partition(first)
    return overview, first + single


def restyle(cells: dict[str, Any]) -> str:
    """A table per task model and direction: hand-written prompts, then methods over their seeds."""
    parts = []
    for (prefix, (model, evaluations, _)), (name, (source, target)) in itertools.product(
        TASK_MODELS.items(), DIRECTIONS.items()
    ):
        own = {k: v for k, v in cells.items() if k.startswith(f"{prefix}{source}to{target}-")}
        if not own:
            continue
        lines = [
            f"### {name}, {model} rewrites, {evaluations} evaluations", "",
            "| method | runs | J | GM | content | style | fluency | BLEU | perplexity of the prompt | a prompt |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]  # fmt: skip
        first = next(iter(own.values()))
        rows = [(row["name"], [row]) for row in first["baselines"]]
        rows += [(m, [v for v in own.values() if v["method"] == m]) for m in METHODS]
        for method, runs in rows:
            if runs:
                tests = [r["test"] for r in runs]
                prompt = runs[0]["prompt"]
                lines.append(
                    f"| {method} | {len(runs) if method in METHODS else '-'} | {_mean([t['j'] for t in tests])} | "
                    + " | ".join(_mean([t[k] for t in tests]) for k in ("gm", "content", "style", "fluency"))
                    + f" | {_mean([t['bleu'] for t in tests], 1)} | {_natural([r['perplexity'] for r in runs])} | "
                    + (f"`{prompt.strip() or ' '}`" if prompt is not None else "-") + " |"
                )  # fmt: skip
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def invert(cells: dict[str, Any]) -> str:
    """Cosine of each picture and method, over seeds, and the means over pictures."""
    if not cells:
        return ""
    names = sorted({key.rsplit("-", 1)[0].removesuffix("-" + v["method"]) for key, v in cells.items()})
    lines = ["| picture | top class | " + " | ".join(METHODS) + " |", "|---|" + "---|" * (len(METHODS) + 1)]
    means: dict[str, list[float]] = {}
    for name in names:
        row = [name]
        for method in ("top class", *METHODS):
            runs = [v for k, v in cells.items() if k.rsplit("-", 1)[0].startswith(f"{name}-")]
            if method == "top class":
                values = [next(b["test"]["cosine"] for b in v["baselines"] if b["name"] == method) for v in runs[:1]]
            else:
                values = [v["test"]["cosine"] for v in runs if v["method"] == method]
            means.setdefault(method, []).append(statistics.fmean(values) if values else math.nan)
            row.append(_mean(values) if values else "-")
        lines.append("| " + " | ".join(row) + " |")
    lines.append("| **mean** | " + " | ".join(f"**{statistics.fmean(v):.3f}**" for v in means.values()) + " |")
    perplexity = [_natural([v["perplexity"] for v in cells.values() if v["method"] == m]) for m in METHODS]
    top = _natural([b["perplexity"] for v in cells.values() for b in v["baselines"] if b["name"] == "top class"])
    lines.append(f"| perplexity | {top} | " + " | ".join(perplexity) + " |")
    return "\n".join(lines) + "\n"


def _mean(values: Sequence[float], digits: int = 3) -> str:
    if len(values) < 2:
        return f"{values[0]:.{digits}f}"
    return f"{statistics.fmean(values):.{digits}f} ({statistics.stdev(values) / math.sqrt(len(values)):.{digits}f})"


def _natural(values: Sequence[float | None]) -> str:
    logs = [math.log(value) for value in values if value]
    return f"{math.exp(statistics.fmean(logs)):,.0f}" if logs else "-"


def performance(found: dict[str, Any]) -> str:
    """The measured parts of a step, and the machine, memory and run under them."""
    lines = [
        "| part | plain (s) | ours (s) | ratio | times the floor | half (s) | ratio | times the floor |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in PARTS:
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


def answers(found: dict[str, Any]) -> str:
    """What an answer of several tokens counts: mean accuracy over prompts, and how often a class is never predicted."""
    ways = list(found["problems"][0]["scores"])
    head = ["data", "answers (tokens)", *ways, *(f"{w}: never" for w in ways), *(f"{w}, less its mean" for w in ways)]
    lines = [head, ["---"] * len(head)]
    pooled: dict[str, list[float]] = {}
    for row in found["problems"]:
        said = ", ".join(f"`{a}` ({n})" for a, n in zip(row["answers"], row["tokens"], strict=True))
        cells = [row["data"], said]
        for key in ("accuracy", "never", "even"):
            for way in ways:
                values = [float(v > 0) if key == "never" else v for v in row["scores"][way][key]]
                pooled.setdefault(f"{key} {way}", []).extend(values)
                cells.append(f"{sum(values):.0f} of {len(values)}" if key == "never" else _mean_of(values))
        lines.append(cells)
    whole = [
        f"{sum(v):.0f} of {len(v)}" if key.startswith("never") else _mean_of(v) for key, v in pooled.items()
    ]  # fmt: skip
    lines.append(["mean", "", *whole])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def architectures(found: dict[str, Any]) -> str:
    """How each architecture is run, and how many are."""
    said = {
        ("causal", "quick"): "a tree of texts, shared beginnings once",
        ("masked", "quick"): "a row of texts without padding",
        "padded": "batches with padding", "alone": "each text alone, by its own forward", "refused": "refused",
        "wrong": "wrong",
    }  # fmt: skip
    lines = ["| kind | is run as | types | which |", "|---|---|---|---|"]
    for kind in ("causal", "masked"):
        for way, types in found[kind].items():
            if types:
                how = said.get((kind, way)) or said[way]
                lines.append(f"| {kind} | {how} | {len(types)} | {', '.join(f'`{name}`' for name in types)} |")
    return "\n".join([*lines, "", f"transformers {found['transformers']}."])


def kills(found: dict[str, Any]) -> str:
    """What was done to runs, and that each ended alike."""
    said = {
        "moment": "killed at a random moment",
        "file operation": "killed right before a random operation on a file",
        "full disk": "files may not grow beyond a random size",
    }
    lines = ["| disturbed | runs | kills | writes that failed, each one line | ended with other files |"]
    lines += ["|---|---|---|---|---|"]
    for kind, counts in found.get("kills", {}).items():
        lines.append(
            f"| {said[kind]} | {counts.get('ends', 0)} | {counts.get('kills', 0)} | {counts.get('errors', 0)} | 0 |"
        )
    return "\n".join(lines)


def fuzz(found: dict[str, Any]) -> str:
    """How long each reader was given bytes that nobody would write."""
    lines = ["| reader | inputs | seconds | not an error of ours |", "|---|---|---|---|"]
    lines += [f"| {name} | {own['runs']:,} | {own['seconds']} | 0 |" for name, own in found.get("fuzz", {}).items()]
    return "\n".join(lines)


def _mean_of(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.3f}"


TABLES: dict[tuple[str, str], tuple[str, Callable[[Any], str]]] = {  # by page and mark: its JSON, and what it shows
    ("results.md", "tables"): ("results.json", lambda known: results(known["cells"], known["tested"]["tested.json"])),
    ("results.md", "compare"): ("compare.json", lambda known: comparison(known["summary"])[0]),
    ("compare.md", "compare"): ("compare.json", lambda known: comparison(known["summary"])[1]),
    ("tasks.md", "restyle"): ("tasks.json", lambda known: restyle(known.get("restyle", {}))),
    ("tasks.md", "invert"): ("tasks.json", lambda known: invert(known.get("invert", {}))),
    ("answers.md", "answers"): ("answers.json", answers),
    ("calibration.md", "calibration"): ("calibration.json", calibrated.answers),
    ("calibration.md", "sharpness"): ("calibration.json", calibrated.sharpness),
    ("calibration.md", "written"): ("calibration.json", calibrated.written),
    ("models.md", "architectures"): ("models.json", architectures),
    ("reliability.md", "kills"): ("reliability.json", kills),
    ("reliability.md", "fuzz"): ("reliability.json", fuzz),
    ("performance.md", "table"): ("performance.json", performance),
}


def fill_from(docs: Path, page: str, mark: str, known: Any) -> None:
    """Put the table of a mark into its page, made from the values of its JSON."""
    fill(docs / page, mark, TABLES[page, mark][1](known))


def kept(name: str) -> dict[str, Any]:
    """The values of a page of docs/, empty where none were measured."""
    path = DOCS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def keep(name: str, mark: str, values: Any) -> None:
    """Keep what was measured for a page of docs/, and put it into the table of that name there."""
    known = {**kept(name), mark: values}
    write_json(DOCS / f"{name}.json", known)
    fill_from(DOCS, f"{name}.md", mark, known)

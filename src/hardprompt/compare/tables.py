"""The tables of a comparison: plain figures, and the same as Markdown, LaTeX, CSV and on a terminal."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, geometric_mean, median
from typing import TYPE_CHECKING, Any

from hardprompt.compare import statistics
from hardprompt.compare.statistics import Outcome, by_data, by_method, interval
from hardprompt.data.files import csv_text
from hardprompt.data.markdown import code_cell, plain
from hardprompt.errors import unknown
from hardprompt.tasks.tables import number, table

if TYPE_CHECKING:
    from rich.console import RenderableType

Claims = Mapping[str, Mapping[str, float]]  # by method, then data set
_LEGEND = (
    "Each figure is a mean over runs, with its standard error over runs in brackets. Intervals are 95 % bootstrap "
    "intervals over runs and, where there are any, test items. A difference is the method's figure minus that of the "
    "reference on the same data, splits and seeds; p is two-sided, and Holm's adjusts it for all methods of its table."
)
_COSTS = ("perplexity", "evaluations", "passes", "seconds")
_SHOWN, _BRIEF = 160, 60  # characters of a prompt, in a file and on a terminal
_ROW = ("data", "method", "runs", "mean", "standard_error", "low", "high", "rank", *_COSTS, "prompt")
_TEST = ("data", "method", "reference", "difference", "low", "high", "p", "p_holm", "pairs", "data_sets")
_TEX = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "`": "{}`",  # else ?` and !` become Spanish marks
})  # fmt: skip


def summary(
    outcomes: Sequence[Outcome], *, headline: str, reference: str | None, claims: Claims, note: str | None
) -> dict[str, Any]:
    """Every figure of a comparison, plain enough for JSON.

    Args:
        outcomes: all finished cells; data sets and methods keep the order in which they first come.
        headline: what the score is called.
        reference: the method that the others are tested against; None for that of the best mean rank.
        claims: by method, then data set, what its paper reports, in the unit of the score.
        note: a sentence on how it was measured.

    Returns:
        ``headline``, ``note`` and ``reference``; ``data``, a block per data set; ``all``, the block over them. A block
        has ``rows``, one per method, and ``tests``, one per method but the reference. Over all data sets, a method
        that lacks one has no mean, interval and rank; ``data`` says how many it has and ``of`` how many there are.
        Ranks there are over the data sets in ``ranked``: all, unless no method has them all.

    Raises:
        InputError: as ``check``; or no method is called ``reference``.
    """
    statistics.check(outcomes)
    methods, groups = by_method(outcomes), by_data(outcomes)
    found = {data: _rows(by_method(group), claims) for data, group in groups.items()}
    means = {
        name: {data: row["mean"] for data, rows in found.items() for row in rows if row["method"] == name}
        for name in methods
    }
    complete = {name: row for name, row in means.items() if len(row) == len(groups)}
    ranked = complete or means
    over_all = statistics.ranks(ranked)
    if reference is None:
        reference = min(methods, key=lambda name: over_all.get(name, math.inf))
    if reference not in methods:
        raise unknown("method", reference, methods)
    blocks = [
        {
            "data": data, "items": max((len(run.items) for run in group if run.items is not None), default=None),
            "rows": found[data], "tests": _tests(by_method(group), reference),
        }
        for data, group in groups.items()
    ]  # fmt: skip
    rows = [
        {
            "method": name, "mean": fmean(row.values()) if name in complete else None,
            "interval": _list(interval(methods[name])) if name in complete else None,
            "rank": over_all.get(name), "data": len(row), "of": len(groups),
        }
        for name, row in means.items()
    ]  # fmt: skip
    shared = [data for data in groups if all(data in row for row in ranked.values())]
    over = {"ranked": shared, "rows": rows, "tests": _tests(methods, reference)}
    return {"headline": headline, "note": note, "reference": reference, "data": blocks, "all": over}


def markdown(summary: Mapping[str, Any]) -> str:
    """The tables as GitHub's Markdown; a prompt stands there as a JSON string, whatever it holds."""
    parts = [plain(text) for text in (summary["note"], _LEGEND) if text]
    for title, (head, *rows) in _grids(summary):
        parts += [f"### {plain(title)}", _markdown(head, [map(plain, row) for row in rows])]
    for block in summary["data"]:
        rows = [[plain(name), code_cell(text)] for name, text in _prompts(block)]
        parts += [f"### {plain(block['data'])}: best prompts", _markdown(["method", "prompt"], rows, words=2)]
    return "\n\n".join(parts) + "\n"


def latex(summary: Mapping[str, Any]) -> str:
    """The tables as LaTeX; a prompt stands there as a JSON string, whatever it holds."""
    parts = [r"% Needs \usepackage{booktabs}.", *(_tex(text) for text in (summary["note"], _LEGEND) if text)]
    for title, (head, *rows) in _grids(summary):
        body = [[_tex(row[0]), *(re.sub(r"[-+](?=\d)", r"$\g<0>$", _tex(cell)) for cell in row[1:])] for row in rows]
        parts.append(_latex(title, "l" + "r" * (len(head) - 1), head, body))
    for block in summary["data"]:
        body = [[_tex(name), rf"\texttt{{{_tex(text)}}}"] for name, text in _prompts(block)]
        parts.append(_latex(f"{block['data']}: best prompts", r"lp{0.75\linewidth}", ["method", "prompt"], body))
    return "\n\n".join(parts) + "\n"


def csv_rows(summary: Mapping[str, Any]) -> tuple[str, str]:
    """Two CSV texts with all digits: a row per data set and method, and the tests, first those over all data sets."""
    table = [{**row, "data": b["data"], "paper": row["claim"]} for b in summary["data"] for row in b["rows"]]
    blocks = ({**summary["all"], "data": "all data sets"}, *summary["data"])
    tests = [
        {**test, "data": block["data"], "reference": summary["reference"], "data_sets": test["data"]}
        for block in blocks for test in block["tests"]
    ]  # fmt: skip
    claimed = any(row["paper"] is not None for row in table)
    return _csv((*_ROW, *(["paper"] if claimed else [])), table), _csv(_TEST, tests)


def show(summary: Mapping[str, Any]) -> "list[RenderableType]":
    """For a terminal: methods by data sets, each data set with its prompts, the tests over all; a note is a string."""
    shown: list[RenderableType] = [summary["note"]] if summary["note"] else []
    overview, tests, *_ = _grids(summary)
    grids = [overview] if len(summary["data"]) > 1 else []
    for block in summary["data"]:
        title, grid = _figures(block, summary["headline"])
        prompts = [_quoted(_short(row["prompt"] or "-", _BRIEF)) for row in block["rows"]]
        grids.append((title, [[*row, last] for row, last in zip(grid, ["best prompt", *prompts], strict=True)]))
    for title, (head, *rows) in (*grids, tests):
        made = table(title, head[:1], head[1:])
        for row in rows:
            made.add_row(*row)
        shown.append(made)
    return shown


def _rows(methods: Mapping[str, Sequence[Outcome]], claims: Claims) -> list[dict[str, Any]]:
    """A row per method on one data set."""
    means = {name: fmean(run.score for run in runs) for name, runs in methods.items()}
    placed = statistics.ranks({name: {"": mean} for name, mean in means.items()})
    rows = []
    for name, runs in methods.items():
        perplexities = [run.perplexity for run in runs if run.perplexity is not None]
        rows.append({
            "method": name, "runs": len(runs), "mean": means[name],
            "standard_error": statistics.standard_error([run.score for run in runs]),
            "interval": _list(interval(runs)), "rank": placed[name],
            "perplexity": geometric_mean(perplexities) if perplexities else None,
            "evaluations": fmean(run.evaluations for run in runs), "passes": fmean(run.passes for run in runs),
            "seconds": median(run.seconds for run in runs),
            "prompt": max(runs, key=lambda run: run.score).prompt, "claim": claims.get(name, {}).get(runs[0].data),
        })  # fmt: skip
    return rows


def _tests(methods: Mapping[str, Sequence[Outcome]], reference: str) -> list[dict[str, Any]]:
    """A test per method against the reference; its figures are None where no runs can be paired."""
    others = [name for name in methods if name != reference]
    found = [statistics.paired(methods[name], methods.get(reference, [])) for name in others]
    adjusted = statistics.holm([test.p if test else None for test in found])
    return [
        {
            "method": name, "difference": test.value if test else None,
            "interval": _list(test.interval) if test else None, "p": test.p if test else None, "p_holm": p_holm,
            "pairs": test.pairs if test else 0, "data": len(test.data) if test else 0,
        }
        for name, test, p_holm in zip(others, found, adjusted, strict=True)
    ]  # fmt: skip


def _list(values: tuple[float, float] | None) -> list[float] | None:
    return None if values is None else list(values)


def _grids(summary: Mapping[str, Any]) -> list[tuple[str, list[list[str]]]]:
    """Titles and cells, the first row the headings: the overview, its tests, then each data set and its tests."""
    headline, blocks, ranked = summary["headline"], summary["data"], summary["all"]["ranked"]
    against = f"{headline} against {summary['reference']}"
    some = f"; ranks over {', '.join(ranked) or 'nothing'} alone" if len(ranked) < len(blocks) else ""
    found = [(f"{headline}, mean over runs (standard error){some}", _overview(summary))]
    found.append((against, _tested(summary["all"]["tests"], len(blocks))))
    for block in blocks:
        found.append(_figures(block, headline))
        if len(blocks) > 1:
            found.append((f"{block['data']}: {against}", _tested(block["tests"], 1)))
    return found


def _overview(summary: Mapping[str, Any]) -> list[list[str]]:
    blocks = summary["data"]
    means = {(block["data"], row["method"]): _mean(row) for block in blocks for row in block["rows"]}
    several = ["mean", "95 % interval"] if len(blocks) > 1 else []  # of one data set they are its own
    grid = [["method", *(block["data"] for block in blocks), *several, "rank"]]
    for row in summary["all"]["rows"]:
        lacking = f" ({row['data']} of {row['of']})" if row["data"] < row["of"] else ""
        over_all = [_score(row["mean"]) + lacking, _range(row["interval"])] if several else []
        rank = "-" if row["rank"] is None else f"{row['rank']:.2f}"
        grid.append([row["method"], *(means.get((b["data"], row["method"]), "-") for b in blocks), *over_all, rank])
    return grid


def _tested(tests: Sequence[Mapping[str, Any]], of: int) -> list[list[str]]:
    grid = [["method", "difference", "95 % interval", "p", "p (Holm)", "pairs", *(["data sets"] if of > 1 else [])]]
    for test in tests:
        figures = [_score(test["difference"], "+"), _range(test["interval"], "+"), _score(test["p"])]
        seen = [f"{test['data']} of {of}"] if of > 1 else []
        grid.append([test["method"], *figures, _score(test["p_holm"]), str(test["pairs"]), *seen])
    return grid


def _figures(block: Mapping[str, Any], headline: str) -> tuple[str, list[list[str]]]:
    items = "" if block["items"] is None else f", {block['items']} test items"
    claimed = any(row["claim"] is not None for row in block["rows"])
    grid = [["method", "runs", headline, "95 % interval", "rank", *_COSTS, *(["paper"] if claimed else [])]]
    for row in block["rows"]:
        cells = [row["method"], str(row["runs"]), _mean(row), _range(row["interval"]), f"{row['rank']:g}"]
        claim = [_score(row["claim"])] if claimed else []
        grid.append([*cells, *(number(row[name]) for name in _COSTS), *claim])
    return f"{block['data']}{items}", grid


def _prompts(block: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Method and prompt; this as a JSON string in which every character can be seen, without a long one's middle."""
    return [(row["method"], "-" if row["prompt"] is None else _quoted(_short(row["prompt"]))) for row in block["rows"]]


def _short(prompt: str, most: int = _SHOWN) -> str:
    return prompt if len(prompt) <= most else f"{prompt[: most // 2]} … {prompt[-most // 2 :]}"


def _quoted(text: str) -> str:
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in json.dumps(text, ensure_ascii=False))


def _score(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.3f}"


def _mean(row: Mapping[str, Any]) -> str:
    error = row["standard_error"]
    return _score(row["mean"]) + (f" ({error:.3f})" if error is not None else "")


def _range(values: Sequence[float] | None, sign: str = "") -> str:
    return "-" if values is None else f"{_score(values[0], sign)} to {_score(values[1], sign)}"


def _markdown(head: Sequence[str], rows: Iterable[Iterable[str]], *, words: int = 1) -> str:
    """A table whose first columns are ``words`` and whose others are figures, to the right."""
    rule = [*["---"] * words, *["---:"] * (len(head) - words)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (map(plain, head), rule, *rows))


def _tex(text: str) -> str:
    """Text that LaTeX shows as it is, with all of its spaces."""
    return re.sub("(?<= ) ", r"\\ ", text.translate(_TEX))


def _latex(title: str, columns: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [rf"{' & '.join(cells)} \\" for cells in (map(_tex, head), *rows)]
    return "\n".join([
        r"\begin{table}", r"\centering", rf"\caption{{{_tex(title)}}}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule",
        lines[0], r"\midrule", *lines[1:], r"\bottomrule", r"\end{tabular}", r"\end{table}",
    ])  # fmt: skip


def _csv(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    whole = [{**row, **dict(zip(("low", "high"), row["interval"] or (None, None), strict=True))} for row in rows]
    return csv_text(names, [[row[name] for name in names] for row in whole])

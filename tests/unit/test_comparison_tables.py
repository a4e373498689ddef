"""The tables and figures of a comparison, read back as a reader's programs read them."""

import csv
import dataclasses
import io
import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from matplotlib.figure import Figure
from rich.console import Console

from hardprompt.compare.figures import draw, steps
from hardprompt.compare.statistics import Outcome, interval, paired
from hardprompt.compare.tables import csv_rows, latex, markdown, show, summary
from hardprompt.errors import InputError, MissingExtra

AWKWARD = 'a | b \\| `c` ``d``\n  & % $ # _ { } ~ ^ \\ <i>*e*</i> [f] "g" \t\u2028!`'


def run(method: str, score: float, **changes: object) -> Outcome:
    made = Outcome(
        data="films", split="", method=method, seed=0, prompt=f"by {method}", score=score, items=None, perplexity=10.0,
        evaluations=100, passes=10, seconds=5.0, curve=((10, 0.1), (100, 0.5)),
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def runs(method: str, scores: Sequence[float], **changes: object) -> list[Outcome]:
    return [run(method, score, seed=seed, **changes) for seed, score in enumerate(scores)]


def made(outcomes: Sequence[Outcome], **changes: Any) -> dict[str, Any]:
    return summary(
        outcomes, **{"headline": "accuracy", "reference": "ours", "claims": {}, "note": None, **changes}
    )  # fmt: skip


OUTCOMES = [
    *runs("manual", [0.6]),
    *runs("ours", [0.8, 0.9, 0.7], data="films"),
    *runs("theirs", [0.7, 0.6, 0.5]),
    *runs("manual", [0.5], data="news", prompt=None, perplexity=None),
    *runs("ours", [0.6, 0.6, 0.9], data="news"),
]


def row_of(block: dict[str, Any], method: str) -> dict[str, Any]:
    return next(row for row in block["rows"] if row["method"] == method)


def against(block: dict[str, Any], method: str) -> dict[str, Any]:
    return next(test for test in block["tests"] if test["method"] == method)


def cells(text: str) -> list[list[list[tuple[str, str]]]]:
    """Tables of rows of cells as GitHub's Markdown has them: of each cell its text and, apart, its code."""
    tables: list[list[list[tuple[str, str]]]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type == "inline" and tables and token.level > 2:
            parts = token.children or []
            tables[-1][-1].append((
                "".join(p.content for p in parts if p.type != "code_inline"),
                "".join(p.content for p in parts if p.type == "code_inline"),
            ))  # fmt: skip
    return tables


def words(table: list[list[tuple[str, str]]]) -> list[list[str]]:
    return [[text for text, _ in row] for row in table]


# The figures themselves


def test_a_row_worked_by_hand() -> None:
    outcomes = [
        run("ours", 0.8, perplexity=10.0, evaluations=100, passes=0, seconds=1.0),
        run("ours", 0.9, seed=1, perplexity=40.0, evaluations=300, passes=30, seconds=9.0, prompt="the best"),
        run("ours", 0.7, seed=2, perplexity=None, evaluations=200, passes=60, seconds=2.0),
    ]
    row = made(outcomes)["data"][0]["rows"][0]
    assert row.pop("interval") == list(interval(outcomes) or ())
    assert row.pop("standard_error") == pytest.approx(0.1 / math.sqrt(3))
    assert row == pytest.approx({
        "method": "ours", "runs": 3, "mean": 0.8, "rank": 1.0, "perplexity": 20.0, "evaluations": 200.0,
        "passes": 30.0, "seconds": 2.0, "prompt": "the best", "claim": None,
    })  # fmt: skip


def test_over_all_data_sets_each_counts_once() -> None:
    found = made([o for o in OUTCOMES if o.method != "theirs"])
    ours = row_of(found["all"], "ours")
    assert ours["mean"] == pytest.approx((0.8 + 0.7) / 2)
    assert ours["interval"] == list(interval([o for o in OUTCOMES if o.method == "ours"]) or ())
    assert [row["rank"] for row in found["all"]["rows"]] == [2.0, 1.0]
    assert row_of(found["all"], "manual")["interval"] is None  # one run and no items
    assert row_of(found["data"][1], "manual")["standard_error"] is None


def test_a_method_that_lacks_a_data_set_has_no_mean_over_all() -> None:
    found = made(OUTCOMES)
    theirs = row_of(found["all"], "theirs")
    assert (theirs["mean"], theirs["interval"], theirs["rank"]) == (None, None, None)
    assert (theirs["data"], theirs["of"]) == (1, 2)
    assert found["all"]["ranked"] == ["films", "news"]
    assert row_of(found["all"], "ours")["rank"] == 1.0  # among those that have all
    assert row_of(found["data"][0], "manual")["rank"] == 2.5  # beside theirs
    assert against(found["all"], "theirs")["data"] == 1
    assert [row["method"] for row in found["data"][1]["rows"]] == ["manual", "ours"]
    text = markdown(found)
    assert ["theirs", "0.600 (0.058)", "-", "- (1 of 2)", "-", "-"] in words(cells(text)[0])


def test_where_no_method_has_all_data_sets_ranks_say_which_they_are_over() -> None:
    outcomes = [*runs("a", [0.1]), *runs("b", [0.2]), *runs("a", [0.5], data="x"), *runs("b", [0.5], data="y")]
    found = made(outcomes, reference=None)
    assert found["all"]["ranked"] == ["films"]
    assert found["reference"] == "b"
    assert "ranks over films alone" in markdown(found)
    nothing = made([*runs("a", [0.1], data="x"), *runs("b", [0.2], data="y")], reference=None)
    assert nothing["all"]["ranked"] == []
    assert "ranks over nothing alone" in markdown(nothing)


def test_tests_are_against_the_reference_and_adjusted_within_their_table() -> None:
    rng = np.random.default_rng(0)
    tables = {name: rng.normal(mean, 0.1, 12) for name, mean in (("ours", 0.7), ("one", 0.62), ("two", 0.65))}
    outcomes = [o for name, scores in tables.items() for o in runs(name, scores.tolist())]
    found = made(outcomes)
    assert [test["method"] for test in found["all"]["tests"]] == ["one", "two"]
    expected = {name: paired(runs(name, tables[name]), runs("ours", tables["ours"])) for name in ("one", "two")}
    p = {name: e.p for name, e in expected.items() if e is not None and e.p is not None}
    for block in (found["all"], found["data"][0]):
        for name in ("one", "two"):
            test = against(block, name)
            assert test["difference"] == pytest.approx(tables[name].mean() - tables["ours"].mean())
            assert test["p"] == p[name]
        low, high = sorted(p, key=p.__getitem__)
        assert against(block, low)["p_holm"] == pytest.approx(min(1, 2 * p[low]))
        assert against(block, high)["p_holm"] == pytest.approx(max(min(1, 2 * p[low]), p[high]))


def test_what_cannot_be_paired_is_not_tested() -> None:
    found = made([*OUTCOMES, *runs("late", [0.9], data="weather")])
    test = against(found["all"], "late")
    assert (test["difference"], test["p"], test["p_holm"], test["pairs"]) == (None, None, None, 0)
    assert found["data"][2]["tests"][0]["difference"] is None  # ours is not there
    assert ["late", "-", "-", "-", "-", "0", "0 of 3"] in words(cells(markdown(found))[1])


def test_the_reference_is_the_best_ranked_or_as_named() -> None:
    assert made(OUTCOMES, reference=None)["reference"] == "ours"
    assert made(OUTCOMES, reference="manual")["reference"] == "manual"
    with pytest.raises(InputError, match=r"unknown method 'our'. Did you mean 'ours'"):
        made(OUTCOMES, reference="our")
    with pytest.raises(InputError, match="at least one"):
        made([])


def test_a_summary_is_plain() -> None:
    found = made(
        [*OUTCOMES, run("late", 0.5, items=(0.0, 1.0))], claims={"ours": {"films": 0.95}}, note="measured once"
    )
    assert json.loads(json.dumps(found, allow_nan=False)) == found


# The same as text


def test_markdown_has_the_costs_of_a_search() -> None:
    outcomes = [run("ours", 0.5, seed=i, perplexity=12.34, evaluations=2000 + i, seconds=i + 1.5) for i in range(3)]
    films = words(cells(markdown(made(outcomes)))[2])
    assert films[0] == [
        "method", "runs", "accuracy", "95 % interval", "rank", "perplexity", "evaluations", "passes", "seconds",
    ]  # fmt: skip
    assert films[1] == ["ours", "3", "0.500 (0.000)", "0.500 to 0.500", "1", "12.3", "2001", "10", "2.5"]


def test_a_paper_is_quoted_only_where_it_claims_something() -> None:
    claims = {"ours": {"films": 0.951}, "nobody": {"news": 0.5}}
    with_claims = [words(table) for table in cells(markdown(made(OUTCOMES, claims=claims)))]
    films, news = (table for table in with_claims if table[0][1] == "runs")
    assert films[0][-1] == "paper"
    assert [row[-1] for row in films[1:]] == ["-", "0.951", "-"]
    assert "paper" not in news[0]
    assert "paper" not in markdown(made(OUTCOMES))
    assert "paper" not in latex(made(OUTCOMES))
    assert "paper" not in csv_rows(made(OUTCOMES))[0]
    rows = list(csv.DictReader(io.StringIO(csv_rows(made(OUTCOMES, claims=claims))[0])))
    assert [row["paper"] for row in rows] == ["", "0.951", "", "", ""]


def awkward(prompt: str) -> dict[str, Any]:
    return made([run("ours", 0.5, prompt=prompt), run("a|b_c*d\n#", 0.4, prompt=None)], note="5 | *6*\n# 7")


@given(st.text() | st.text('|\\`\n\r" a$'))
def test_markdown_shows_any_prompt_as_it_is(prompt: str) -> None:
    tables = cells(markdown(awkward(prompt)))
    (mine, code), (other, none) = tables[-1][1], tables[-1][2]
    assert mine == ("ours", "")
    assert json.loads(code[1]) == prompt
    assert (other[0], none) == ("a|b_c*d #", ("", "-"))
    assert all(len(row) == len(table[0]) for table in tables for row in table)


def test_an_awkward_prompt_breaks_no_table() -> None:
    text = markdown(awkward(AWKWARD))
    assert json.loads(cells(text)[-1][1][1][1]) == AWKWARD
    assert len(cells(text)) == 4  # overview, tests, films, prompts
    assert r"\t\u2028!" in text  # what cannot be seen is spelt out
    assert "\u2028" not in text + latex(awkward(AWKWARD))
    assert text.startswith("5 \\| \\*6\\* \\# 7\n")


def typeset(text: str) -> str:
    """What TeX shows of a text: commands undone, runs of spaces made one."""
    signs = {"textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textless": "<",
             "textgreater": ">", "textbar": "|"}  # fmt: skip
    shown, i = "", 0
    while i < len(text):
        if found := re.match(r"\\(text[a-z]+)\{\}", text[i:]):
            shown, i = shown + signs[found[1]], i + found.end()
        elif text[i] == "\\":
            assert text[i + 1] in "{}&%$#_ "
            shown, i = shown + text[i + 1], i + 2
        elif text[i : i + 2] == "{}":
            i += 2
        else:
            assert text[i] not in "{}&%$#_~^|<>", text[i]
            shown, i = shown + ("" if text[i] == " " == shown[-1:] else text[i]), i + 1
    return shown


@given(st.text() | st.text("\\{}&%$#_~^<>|` ?!a"))
def test_latex_shows_any_prompt_as_it_is(prompt: str) -> None:
    line = next(line for line in latex(awkward(prompt)).split("\n") if line.startswith(r"ours & \texttt{"))
    inner = line.removeprefix(r"ours & \texttt{").removesuffix(r"} \\")
    assert json.loads(typeset(inner)) == prompt
    assert "?`" not in inner
    assert "!`" not in inner


def test_latex_tables_are_whole_and_need_booktabs_alone() -> None:
    text = latex(made(OUTCOMES, claims={"ours": {"films": 0.9}}, note="50 % of _all_"))
    assert r"50 \% of \_all\_" in text
    assert set(re.findall(r"\\([a-z]+)", text)) <= {
        "usepackage", "begin", "end", "centering", "caption", "toprule", "midrule", "bottomrule", "texttt", "linewidth",
    }  # fmt: skip
    for columns, body in re.findall(r"\\begin\{tabular\}\{([^\n]*)\}\n(.*?)\\end\{tabular\}", text, flags=re.DOTALL):
        width = len(re.findall("l|r|p", columns.replace(r"p{0.75\linewidth}", "p")))
        rows = [line for line in body.split("\n") if line.endswith(r"\\")]
        assert len(rows) > 1
        assert all(len(re.findall(r"(?<!\\)&", row)) == width - 1 for row in rows)
    assert "manual & $-$0.200" in text


def test_csv_has_a_row_per_data_set_and_method_and_the_tests() -> None:
    outcomes = [*OUTCOMES, run("awkward", 1 / 3, prompt=AWKWARD)]
    table, tests = (list(csv.DictReader(io.StringIO(text, newline=""))) for text in csv_rows(made(outcomes)))
    assert [(row["data"], row["method"]) for row in table] == [
        ("films", "manual"), ("films", "ours"), ("films", "theirs"), ("films", "awkward"), ("news", "manual"),
        ("news", "ours"),
    ]  # fmt: skip
    assert table[3]["prompt"] == AWKWARD
    assert float(table[3]["mean"]) == 1 / 3
    assert float(table[1]["low"]) < float(table[1]["mean"]) < float(table[1]["high"])
    assert (table[0]["low"], table[0]["standard_error"], table[4]["perplexity"]) == ("", "", "")
    assert [(row["data"], row["method"], row["data_sets"]) for row in tests[:3]] == [
        ("all data sets", "manual", "2"), ("all data sets", "theirs", "1"), ("all data sets", "awkward", "1"),
    ]  # fmt: skip
    assert {row["reference"] for row in tests} == {"ours"}
    assert len(tests) == 3 + 3 + 1


def test_one_method_alone_has_nothing_to_be_tested_against() -> None:
    found = made(runs("ours", [0.5, 0.6]))
    assert found["all"]["tests"] == []
    assert csv_rows(found)[1].count("\n") == 1
    assert words(cells(markdown(found))[0]) == [["method", "films", "rank"], ["ours", "0.550 (0.050)", "1.00"]]


def test_the_terminal_shows_means_and_tests() -> None:
    found = made([*OUTCOMES, run("[red]", 0.4)], note="measured [once]")
    screen = Console(width=200, file=io.StringIO(), record=True, markup=False)
    for part in show(found):
        screen.print(part)
    text = screen.export_text()
    for expected in ("measured [once]", "0.800 (0.058)", "- (1 of 2)", "[red]", "-0.200", "p (Holm)", "against ours"):
        assert expected in text


# Figures


def test_steps_hold_a_value_until_the_next_one() -> None:
    grid, values = steps([[(10, 1.0), (30, 2.0)], [(20, 5.0), (25, 6.0), (40, 7.0)]])
    assert grid.tolist() == [20, 25, 30, 40]
    assert values.tolist() == [[1, 1, 2, 2], [5, 6, 6, 7]]


@given(
    st.lists(
        st.dictionaries(st.integers(1, 30), st.integers(0, 9), min_size=1).map(lambda d: sorted(d.items())), min_size=1
    )
)
def test_steps_are_those_of_brute_force(curves: list[list[tuple[int, int]]]) -> None:
    grid, values = steps(curves)
    for curve, row in zip(curves, values, strict=True):
        for x, y in zip(grid, row, strict=True):
            assert y == [value for at, value in curve if at <= x][-1]


def test_both_figures_are_drawn_whatever_the_names(tmp_path: Path) -> None:
    outcomes = [
        dataclasses.replace(o, data=data, curve=((0, 0.2),) if o.method == "manual" else o.curve)
        for data in (r"$\x$", "_films") for o in OUTCOMES if o.data == "films"
    ]  # fmt: skip
    outcomes += runs(r"_soft $\x$", [0.4, 0.5], data="_films", perplexity=None, prompt=None)
    folder = tmp_path / "new" / "figures"
    assert draw(outcomes, folder, headline=r"J_$\x$") == ["curves.png", "scatter.png"]
    for name in ("curves.png", "scatter.png"):
        data = (folder / name).read_bytes()
        assert data.startswith(b"\x89PNG")
        assert len(data) > 10_000


def test_a_method_looks_the_same_in_every_panel_and_has_one_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    methods = [f"m{i}" for i in range(14)]
    outcomes = [
        run(name, 0.5 + i / 100, data=data, perplexity=None if i == 3 else 10.0 + i, curve=((9, 0.0), (99, float(i))))
        for data in "abcde" for i, name in enumerate(methods)
    ]  # fmt: skip
    draw(outcomes, tmp_path, headline="accuracy")
    curves, scatter = figures
    for figure, entries in ((curves, methods), (scatter, [*methods, "Pareto front of the means"])):
        assert [axes.get_title() for axes in figure.axes] == list("abcde")
        assert {axes.get_xscale() for axes in figure.axes} == {"log"}
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == entries
    looks = [(line.get_color(), line.get_linestyle(), line.get_marker()) for line in curves.legends[0].get_lines()]
    assert len({look[:2] for look in looks}) == len({look[::2] for look in looks}) == 14
    other = [(line.get_color(), line.get_marker()) for line in scatter.legends[0].get_lines()]
    assert other[:14] == [look[::2] for look in looks]
    for axes in curves.axes:
        drawn = [line for line in axes.get_lines() if len(line.get_xdata()) == 2]
        assert [(line.get_color(), line.get_linestyle()) for line in drawn] == [look[:2] for look in looks]
        assert [line.get_ydata()[-1] for line in drawn] == list(range(14))
    for axes in scatter.axes:
        (strip,) = axes.child_axes
        assert strip.get_ylabel() == "no perplexity"
        assert len(strip.collections) == 2  # its run and its mean
        assert len(axes.collections) == 2 * 13
        (front,) = axes.get_lines()
        assert len(front.get_xdata()) == 13  # better and less plain, one after the other


def test_the_same_outcomes_give_the_same_figures(tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw(OUTCOMES, tmp_path / name, headline="accuracy")
    assert (tmp_path / "a" / "scatter.png").read_bytes() == (tmp_path / "b" / "scatter.png").read_bytes()


def test_a_figure_that_would_be_empty_is_not_drawn(tmp_path: Path) -> None:
    bare = [dataclasses.replace(o, curve=(), perplexity=None) for o in OUTCOMES]
    assert draw(bare, tmp_path, headline="accuracy") == []
    assert draw([*bare, run("late", 0.5)], tmp_path, headline="accuracy") == ["curves.png", "scatter.png"]


def test_without_matplotlib_the_message_names_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"pip install 'hardprompt\[plots\]'"):
        draw(OUTCOMES, tmp_path, headline="accuracy")

"""The figures of a comparison: how the searches went, and score against perplexity."""

import io
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from hardprompt.compare.statistics import Outcome, by_data, by_method, check, pareto
from hardprompt.errors import MissingExtra, pip_install
from hardprompt.search.writing import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import LineStyleType

# Okabe and Ito's colours without yellow, which is too pale on white: seven, told apart by the colour-blind, too.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES: "tuple[LineStyleType, ...]" = ("-", "--", ":")  # the seven colours come round with another line
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "d")
_COLUMNS = 4
_PANEL = (3.7, 3.3)  # inches
_ENTRY = (1.85, 0.24)  # inches of the legend per method
_SMALL, _BIG = 16, 75  # points²
_NARROW = 30.0  # largest to smallest of an axis that powers of ten alone do not label
_STRIP = "no perplexity"


@dataclass(frozen=True)
class _Style:
    """How a method looks, in every panel of every figure."""

    color: str
    line: "LineStyleType"
    marker: str


def draw(outcomes: Sequence[Outcome], folder: Path, *, headline: str) -> list[str]:
    """Draw ``curves.png`` and ``scatter.png``, one panel per data set.

    The curves are the best training reward so far against evaluations, the mean over runs with a band of one standard
    error. The scatter is score against perplexity: a small mark per run, a big one per method (the mean score, the
    geometric mean of the perplexities), the Pareto front of the big ones as a line; what has no perplexity stands in
    a strip at the edge. A figure that would be empty is not drawn.

    Args:
        outcomes: all finished cells.
        folder: where the files go; made when missing.
        headline: what the score is called.

    Returns:
        The names of the files.

    Raises:
        InputError: as ``check``.
        MissingExtra: matplotlib is not installed.
    """
    check(outcomes)
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingExtra("the figures need matplotlib: " + pip_install("'hardprompt[plots]'")) from error
    styles = _styles(outcomes)
    figures = {}
    if any(run.curve for run in outcomes):
        figures["curves.png"] = _curves([run for run in outcomes if run.curve], styles)
    if any(run.perplexity is not None for run in outcomes):
        figures["scatter.png"] = _scatter(outcomes, styles, headline)
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=150)
        write_bytes(folder / name, stream.getvalue())
    return list(figures)


def steps(
    curves: Sequence[Sequence[tuple[int, float]]],
) -> tuple[Float[NDArray[Any], " points"], Float[NDArray[Any], "runs points"]]:
    """Curves of several runs on one grid, each holding a value until its next one, and its last one to the end.

    Args:
        curves: at least one, none empty; evaluations, which grow, and a value each.

    Returns:
        The grid: all evaluations at which any run has a value, from where all have begun; the values of each run.
    """
    start = max(curve[0][0] for curve in curves)
    grid = np.unique([x for curve in curves for x, _ in curve if x >= start])
    rows = []
    for curve in curves:
        x, y = np.array(curve, dtype=float).T
        rows.append(y[np.searchsorted(x, grid, side="right") - 1])
    return grid.astype(float), np.array(rows)


def _styles(outcomes: Sequence[Outcome]) -> dict[str, _Style]:
    looks = zip(cycle(product(_LINES, _COLORS)), cycle(_MARKERS), strict=True)
    names = dict.fromkeys(run.method for run in outcomes)
    return {name: _Style(color, line, marker) for name, ((line, color), marker) in zip(names, looks, strict=False)}


def _curves(outcomes: Sequence[Outcome], styles: Mapping[str, _Style]) -> "Figure":
    groups = by_data(outcomes)
    shown = {name: styles[name] for name in by_method(outcomes)}
    figure, panels = _panels(groups, shown, x="evaluations", y="best training reward so far")
    for axes, runs in zip(panels, groups.values(), strict=True):
        _logarithm(axes, [float(x) for run in runs for x, _ in run.curve if x > 1])
        methods = by_method(runs)
        for style, own in [(style, methods[name]) for name, style in shown.items() if name in methods]:
            grid, values = steps([run.curve for run in own])
            mean = values.mean(0)
            mark: dict[str, Any] = {"marker": style.marker, "markersize": 6, "markeredgecolor": "white"}
            if grid[-1] <= 1:  # what does not search is a level, which needs no room on the axis
                axes.axhline(mean[-1], color=style.color, linestyle=style.line, linewidth=0.8)
                axes.plot(0.03, mean[-1], color=style.color, transform=axes.get_yaxis_transform(), **mark)
                continue
            grid = grid.clip(1)  # a logarithm has no zero
            axes.plot(grid, mean, color=style.color, linestyle=style.line, linewidth=1.4, drawstyle="steps-post")
            axes.plot(grid[-1:], mean[-1:], color=style.color, **mark)
            if len(values) > 1:
                error = values.std(0, ddof=1) / math.sqrt(len(values))
                axes.fill_between(
                    grid, mean - error, mean + error, step="post", color=style.color, alpha=0.15, linewidth=0
                )
    return figure


def _scatter(outcomes: Sequence[Outcome], styles: Mapping[str, _Style], headline: str) -> "Figure":
    groups = by_data(outcomes)
    figure, panels = _panels(groups, styles, x="perplexity of the prompt", y=f"{headline} on the test set", front=True)
    strips = any(run.perplexity is None for run in outcomes)
    for axes, runs in zip(panels, groups.values(), strict=True):
        _logarithm(axes, [run.perplexity for run in runs if run.perplexity is not None])
        strip = _strip(axes) if strips else None
        found = by_method(runs)
        methods = {name: found[name] for name in styles if name in found}
        means: list[tuple[float, float | None]] = []
        unplaced = [name for name, own in methods.items() if any(run.perplexity is None for run in own)]
        for name, own in methods.items():
            placed = [(run.perplexity, run.score) for run in own if run.perplexity is not None]
            score = statistics.fmean(run.score for run in own)
            perplexity = statistics.geometric_mean(x for x, _ in placed) if placed else None
            means.append((score, perplexity))
            _marks(axes, placed, (perplexity, score), styles[name])
            if strip is not None and name in unplaced:
                # Side by side, so that none hides another.
                x = (unplaced.index(name) + 1) / (len(unplaced) + 1)
                _marks(strip, [(x, run.score) for run in own if run.perplexity is None],
                       (None if placed else x, score), styles[name])  # fmt: skip
        front = sorted((p, s) for (s, p), on in zip(means, pareto(means), strict=True) if on and p is not None)
        axes.plot(*zip(*front, strict=True), color="0.45", linewidth=1, drawstyle="steps-post", zorder=1)
    return figure


def _marks(axes: "Axes", runs: Sequence[tuple[float, float]], mean: tuple[float | None, float], style: _Style) -> None:
    """A small mark per run, a big one where the mean has a place."""
    look: dict[str, Any] = {"color": style.color, "marker": style.marker}
    if runs:
        x, y = zip(*runs, strict=True)
        axes.scatter(x, y, _SMALL, alpha=0.45, linewidths=0, zorder=2, **look)
    if mean[0] is not None:
        axes.scatter(mean[0], mean[1], _BIG, edgecolors="white", linewidths=0.8, zorder=3, **look)


def _strip(axes: "Axes") -> "Axes":
    """The place at the right edge of a panel for what has no perplexity."""
    strip = axes.inset_axes((1.02, 0.0, 0.14, 1.0), sharey=axes)
    strip.set(xlim=(0, 1), facecolor="0.95")
    strip.tick_params(bottom=False, left=False, labelbottom=False, labelleft=False)
    strip.yaxis.set_label_position("right")
    strip.set_ylabel(_STRIP, fontsize="small", color="0.4")
    return strip


def _logarithm(axes: "Axes", values: Sequence[float]) -> None:
    """A logarithmic axis with room at both ends, also where all values are the same, and few labels."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(NullFormatter())
    if values:
        span = max(values) / min(values)
        room = max(1.6, span**0.05)  # twice the room holds a 1, a 2 or a 5, whatever the values
        axes.set_xlim(min(values) / room, max(values) * room)
        if span < _NARROW:
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _panels(
    names: Iterable[str], styles: Mapping[str, _Style], *, x: str, y: str, front: bool = False
) -> "tuple[Figure, list[Axes]]":
    """A figure with a titled panel per data set, and one legend above: lines, or marks alone, which have a front."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.lines import Line2D

    titles, entries = list(names), [*styles, *(["Pareto front of the means"] if front else [])]
    rows = math.ceil(len(titles) / _COLUMNS)
    columns = math.ceil(len(titles) / rows)  # rows that are as long as each other
    width = max(2, columns) * _PANEL[0]
    across = int(width // _ENTRY[0])
    height = rows * _PANEL[1] + math.ceil(len(entries) / across) * _ENTRY[1] + 0.3
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(wspace=0.05))
    FigureCanvasAgg(figure)  # draws on no screen, whatever the user's settings say
    panels = []
    for place, name in enumerate(titles, 1):
        axes = figure.add_subplot(rows, columns, place)
        axes.set_title(name, fontsize="medium", parse_math=False)
        axes.grid(color="0.92", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize="small")
        panels.append(axes)
    figure.supxlabel(x, fontsize="medium")
    figure.supylabel(y, fontsize="medium", parse_math=False)
    handles = [
        Line2D([], [], color=s.color, linestyle="" if front else s.line, marker=s.marker, markeredgecolor="white")
        for s in styles.values()
    ]
    if front:
        handles.append(Line2D([], [], color="0.45", linewidth=1))
    legend = figure.legend(
        handles, [str(i) for i in range(len(entries))], loc="outside upper center", frameon=False, fontsize="small",
        ncols=across, handlelength=2.6,
    )  # fmt: skip
    for text, name in zip(legend.get_texts(), entries, strict=True):  # any name, also one with $ or a leading _
        text.set(text=name, parse_math=False)
    return figure, panels

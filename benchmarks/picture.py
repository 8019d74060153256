"""The table as a picture: how far each ratio lies from its goal."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks.figures import Spread
from benchmarks.report import Result
from benchmarks.rows import Row

# Okabe and Ito's colours, which the colour-blind can tell apart; one per size, in order of appearance.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
_LINE_HEIGHT_INCHES = 0.34


def draw(path: Path, results: Sequence[Result]) -> None:
    """Write the picture of all results."""
    figure = plot(results)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def plot(results: Sequence[Result]) -> Figure:
    """Plot every measured row that has a goal, one line per row and size.

    The axis shows cost relative to the goal: 1 is the goal, everything to the left reaches it. Speed-ups are turned
    around, so that left is good in every line. The ratio itself stands on the right, beside its goal.
    """
    shown = [result for result in results if result.figures is not None and result.row.goal is not None]
    sizes = list(dict.fromkeys(result.size.title for result in shown))
    colours = {title: _COLOURS[i % len(_COLOURS)] for i, title in enumerate(sizes)}
    figure, axes = plt.subplots(figsize=(12, 1.8 + _LINE_HEIGHT_INCHES * len(shown)), layout="constrained")
    for y, result in enumerate(shown):
        _draw_line(axes, y, result, colours[result.size.title])
    axes.set_yticks(range(len(shown)), [f"{r.row.what}\nvs {r.row.against}" for r in shown], fontsize=6.5)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xscale("log")
    ticks = (0.25, 0.5, 0.7, 1, 1.5, 2, 4, 8)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.axvline(1, color="black", linewidth=1)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("cost relative to the goal (1 = the goal; left reaches it); bars: quartiles of the rounds")
    axes.legend(handles=_legend(colours), loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)
    return figure


def cost_relative_to_goal(row: Row, ratio: Spread) -> Spread:
    """Ratio / goal, for speed-ups goal / ratio."""
    assert row.goal is not None
    if row.direction == "at least":
        inverted = ratio.inverted()
        return Spread(inverted.low * row.goal, inverted.median * row.goal, inverted.high * row.goal)
    return Spread(ratio.low / row.goal, ratio.median / row.goal, ratio.high / row.goal)


def _draw_line(axes: Axes, y: int, result: Result, colour: str) -> None:
    """Point, quartiles, and the figures in words."""
    assert result.figures is not None
    ratio = result.row.ratio(result.figures)
    cost = cost_relative_to_goal(result.row, ratio)
    is_filled = result.verdict == "reached"
    axes.plot([cost.low, cost.high], [y, y], color=colour, linewidth=2, alpha=0.5)
    axes.plot(cost.median, y, "o", color=colour, markerfacecolor=colour if is_filled else "white", markersize=7)
    sign = "x" if result.row.direction == "at least" else ""
    goal = result.row.goal_text() if result.verdict != "no goal" else f"{result.row.goal_text()} at other sizes"
    axes.annotate(
        f"{ratio.median:.2f}{sign}  (goal {goal})",
        (1.01, y),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize=7.5,
        annotation_clip=False,
    )


def _legend(colours: dict[str, str]) -> list[Line2D]:
    """Sizes by colour, verdicts by filling."""
    sizes = [_mark(colour, colour, title) for title, colour in colours.items()]
    reached, missed = "goal reached", "missed, or no goal at this size"
    return [*sizes, _mark("black", "black", reached), _mark("black", "white", missed)]


def _mark(colour: str, filling: str, label: str) -> Line2D:
    """A point of the legend."""
    return Line2D(
        [], [], color=colour, markerfacecolor=filling, label=label, marker="o", linestyle="none", markersize=7
    )

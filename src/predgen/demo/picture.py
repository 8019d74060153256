"""The demo's results as a picture: how good each method is, and what it says about every test row."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from predgen.demo.measured import Measured
from predgen.figures import number

_WORDS = {
    "accuracy": "share of right labels",
    "macro_f1": "F1, mean over labels",
    "r2": "share of the scores' variance explained",
    "mae": "mean error of a score, in points (less is better)",
}
_COLOURS = {"predgen": "tab:blue"}
_OTHER = "0.45"


def draw_results(
    results: Sequence[Measured], scores: Sequence[float], predicted: Mapping[str, Sequence[Any]], path: Path
) -> None:
    """Write the picture as PNG, drawn without a display.

    Args:
        results: The table's figures: a panel per metric, a point with its interval per method.
        scores: True scores of the test rows.
        predicted: Method -> its scores of the same rows: a panel each, predicted over true.
        path: The file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    panels = list(dict.fromkeys((m.task, m.metric) for m in results))
    canvas = Canvas(figsize=(9.6, 6.8), layout="constrained")
    FigureCanvasAgg(canvas)
    parts: Any = canvas.subfigures(2, 1, height_ratios=[1.15, 1.6])
    above, below = parts
    above.suptitle("On texts that no method has seen (points with 95 % intervals)", fontsize=11)
    for axis, (task, metric) in zip(above.subplots(2, 2).flat, panels, strict=True):
        _draw_metric(axis, [m for m in results if (m.task, m.metric) == (task, metric)])
        axis.set_title(f"{task}: {_WORDS[metric]}", fontsize=9)
    below.suptitle("Score of each text: predicted over true; on the line it is right", fontsize=11)
    for axis, (method, values) in zip(below.subplots(1, len(predicted), sharey=True), predicted.items(), strict=True):
        axis.plot([0, 10], [0, 10], color="0.8", linewidth=1)
        axis.scatter(scores, [float(v) for v in values], s=9, alpha=0.6, color=_COLOURS.get(method, _OTHER))
        axis.set(title=method, xlabel="true score", xlim=(-0.5, 10.5), ylim=(-0.5, 10.5), aspect="equal")
        axis.spines[["top", "right"]].set_visible(False)
    canvas.savefig(path, dpi=130)


def _draw_metric(axis: Any, measured: Sequence[Measured]) -> None:  # noqa: ANN401  (matplotlib's axes)
    """Draw one metric: a line per method."""
    for height, m in enumerate(reversed(measured)):
        colour = _COLOURS.get(m.method, _OTHER)
        axis.plot([m.low, m.high], [height, height], color=colour, linewidth=3, solid_capstyle="round")
        axis.plot([m.value], [height], "o", color=colour)
        axis.annotate(
            number(m.value), (m.value, height), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=8
        )
    axis.set_yticks(range(len(measured)), [m.method for m in reversed(measured)])
    axis.set_ylim(-0.5, len(measured) - 0.3)
    axis.spines[["top", "right"]].set_visible(False)

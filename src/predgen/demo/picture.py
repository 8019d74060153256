"""The demo's table as a picture: one panel per metric, a point and an interval per method."""

from collections.abc import Sequence
from pathlib import Path

from predgen.demo.measured import Measured
from predgen.figures import number


def draw_results(results: Sequence[Measured], path: Path) -> None:
    """Draw intervals as a forest plot and write it as PNG (drawn without a display)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    panels = list(dict.fromkeys((m.task, m.metric) for m in results))
    methods = list(dict.fromkeys(m.method for m in results))
    canvas = Canvas(figsize=(3.2 * len(panels), 2.6), layout="constrained")
    FigureCanvasAgg(canvas)
    for axis, (task, metric) in zip(canvas.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for m in (m for m in results if (m.task, m.metric) == (task, metric)):
            y = len(methods) - methods.index(m.method)
            colour = "tab:blue" if m.method == "predgen" else "0.35"
            axis.plot([m.low, m.high], [y, y], color=colour, linewidth=2)
            axis.plot([m.value], [y], "o", color=colour)
            axis.annotate(
                number(m.value), (m.value, y), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=8
            )
        axis.set_yticks([len(methods) - i for i in range(len(methods))], methods)
        axis.set_ylim(0.4, len(methods) + 0.7)
        axis.set_title(f"{task}: {metric}", fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    canvas.savefig(path, dpi=130)

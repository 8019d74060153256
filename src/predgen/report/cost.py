"""What the runs cost, and what quality was had for it."""

from dataclasses import dataclass

from markupsafe import Markup

from predgen.findings.base import Cost, Entry
from predgen.report.drawing import Panel, frame, key, look, scale_for
from predgen.report.experiment import LoadedExperiment
from predgen.report.words import as_figure, listed


@dataclass(frozen=True, slots=True)
class CostLine:
    """A variant on a training task.

    Attributes:
        cost: Means over its runs.
        parameters: All parameters of the model, trained or not; None where the records do not say.
    """

    cost: Cost
    parameters: int | None


@dataclass(frozen=True, slots=True)
class CostPlot:
    """Quality by training time on one task.

    Attributes:
        task: Measured task.
        drawing: A mark per variant.
    """

    task: str
    drawing: Markup


@dataclass(frozen=True, slots=True)
class CostSection:
    """Cost of all runs.

    Attributes:
        lines: One per training task and variant.
        plots: One per measured task with at least two variants that trained.
        legend: (key, variant) of the marks.
    """

    lines: list[CostLine]
    plots: list[CostPlot]
    legend: list[tuple[Markup, str]]


def cost_section(experiment: LoadedExperiment) -> CostSection:
    """Bring costs and drawings together."""
    found = experiment.found
    costs = sorted(found.costs, key=lambda cost: experiment.names.index(cost.variant))
    sources = dict.fromkeys(entry.source for entry in found.entries)
    lines = [CostLine(c, _parameters(experiment, c)) for source in sources for c in costs if c.source == source]
    seconds = {(c.source, c.variant): c.train_s for c in found.costs if c.train_s}
    plots, drawn = [], set()
    for task in found.tasks:
        kept = [(e, seconds.get((e.source, e.variant)), e.primary.value) for e in found.entries if e.task == task]
        points = [(entry, time, value) for entry, time, value in kept if time and value is not None]
        if len(points) > 1:
            plots.append(CostPlot(task, _plot(experiment, points)))
            drawn |= {entry.variant for entry, _, _ in points}
    legend = [(key(i), name) for i, name in enumerate(experiment.names) if name in drawn]
    return CostSection(lines, plots, legend)


def _parameters(experiment: LoadedExperiment, cost: Cost) -> int | None:
    """All parameters of a variant's model."""
    runs = [run for run in experiment.done if (run.task, run.variant) == (cost.source, cost.variant)]
    return next((run.training["parameters"] for run in runs if "parameters" in run.training), None)


def _plot(experiment: LoadedExperiment, points: list[tuple[Entry, float, float]]) -> Markup:
    """A mark per variant; its interval as a line."""
    across, up = frame()
    entry = points[0][0]
    told = listed([f"{e.variant} {as_figure(value)} after {time:,.0f} s" for e, time, value in points])
    ends = [v for e, _, value in points for v in (value, e.primary.low, e.primary.high) if v is not None]
    x = scale_for([time for _, time, _ in points], *across, margin=0.1)
    y = scale_for(ends, *up)
    panel = Panel(f"{entry.metric} on {entry.task} by training time: {told}", x, y, "training, seconds", entry.metric)
    for one, time, value in points:
        index = experiment.names.index(one.variant)
        if one.primary.low is not None and one.primary.high is not None:
            panel.line([(time, one.primary.low), (time, one.primary.high)], f"whisker {look(index)}")
        panel.mark((time, value), index)
    return panel.markup()

"""Learning curves: L_W, L_D, p and the validation metric by optimizer step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from predgen import registries
from predgen.components import value_of
from predgen.config import has_setting
from predgen.records import Record
from predgen.report.drawing import Panel, Point, Scale, frame, key, look, scale_for
from predgen.report.experiment import LoadedExperiment
from predgen.report.words import count, listed
from predgen.settings import declared

_MAX_POINTS = 50  # more are not told apart on a drawing of this width
_MAX_VARIANTS = 8  # as many as there are colours
_LOG_RATIO = 30  # losses that fall further than this are drawn on a logarithmic scale
_PANELS = (
    ("writer_loss", "step", "L_W", "L_W, nats per token"),
    ("director_loss", "step", "L_D", "L_D"),
    ("p", "step", "p", "p, share of own tokens"),
    ("validation_value", "validation_step", "validation", ""),
)


@dataclass(frozen=True, slots=True)
class Curves:
    """The curves of some variants on one task.

    Attributes:
        task: Task that was trained on.
        part: "" or "part 1 of 2", where there are more variants than colours.
        legend: (key, variant) of the lines.
        panels: (title, drawing).
    """

    task: str
    part: str
    legend: list[tuple[Markup, str]]
    panels: list[tuple[str, Markup]]


def learning_curves(experiment: LoadedExperiment) -> list[Curves]:
    """Draw the curves of all runs that trained something."""
    found = []
    for task in dict.fromkeys(entry.source for entry in experiment.found.entries):
        runs = [run for run in experiment.done if run.task == task and _has_points(run)]
        names = [name for name in experiment.names if any(run.variant == name for run in runs)]
        groups = [names[i : i + _MAX_VARIANTS] for i in range(0, len(names), _MAX_VARIANTS)]
        for number, group in enumerate(groups, start=1):
            part = f"part {number} of {len(groups)}" if len(groups) > 1 else ""
            found.append(_curves(experiment, task, part, group, [run for run in runs if run.variant in group]))
    return found


def _has_sampling(run: Record) -> bool:
    """Whether a run's method samples; the first version recorded a sampling mode for all."""
    method = str(run.config.get("method"))
    return method in registries.methods and has_setting(method, "sampling")


def _samples(mode: object) -> bool:
    """Whether p means something to a sampling mode; to one that is not registered here, it may."""
    return mode not in registries.sampling or "p_max" in declared(registries.sampling.settings_of(str(mode)))


def _has_points(run: Record) -> bool:
    """Whether any panel has something to show of a run."""
    return any(_points(run, value, step) for value, step, _, _ in _PANELS)


def _curves(experiment: LoadedExperiment, task: str, part: str, names: Sequence[str], runs: Sequence[Record]) -> Curves:
    """All panels of some variants."""
    places = {name: experiment.names.index(name) for name in names}
    metric = selecting_metric(runs[0])
    panels = []
    for value, step, title, unit in _PANELS:
        kept = [(run, _points(run, value, step)) for run in runs]
        kept = [(run, points) for run, points in kept if points]
        if kept:
            shown = f"validation {metric}" if value == "validation_value" else title
            panels.append((shown, _panel(f"{shown} on {task}", unit or metric, kept, places)))
    return Curves(task, part, [(key(places[name]), name) for name in names], panels)


def selecting_metric(run: Record) -> str:
    """Return the validation metric that selected a run's checkpoint."""
    chosen = run.config.get("metric")
    if chosen is None and run.task in registries.tasks:
        chosen = value_of(registries.tasks, run.task).metrics[0]
    return str(chosen or next(iter(run.validation), "metric"))


def _points(run: Record, value: str, step: str) -> list[Point]:
    """A run's curve, without values that are missing or not finite."""
    if value == "p" and not (_has_sampling(run) and _samples(run.config.get("sampling"))):
        return []  # logged, but nothing is drawn by it
    pairs = zip(run.curves.get(step, []), run.curves.get(value, []), strict=False)
    points = [(float(x), float(y)) for x, y in pairs if x is not None and y is not None and math.isfinite(y)]
    return points if value == "p" else thinned(points)


def _panel(name: str, unit: str, kept: Sequence[tuple[Record, list[Point]]], places: dict[str, int]) -> Markup:
    """One drawing; each seed is a thin line."""
    across, up = frame()
    values = [y for _, points in kept for _, y in points]
    is_loss = unit.startswith("L_")
    x = scale_for([x for _, points in kept for x, _ in points], *across, margin=0.02)
    is_share = unit.startswith("p,")
    y = Scale(-0.03, 1.03, *up) if is_share else scale_for(values, *up, is_log=is_loss and _is_wide(values))
    panel = Panel(_label(name, kept), x, y, "optimizer step", unit + (" (log)" if y.is_log else ""))
    for run, points in sorted(kept, key=lambda pair: places[pair[0].variant]):
        panel.line(without_straight_middles(points), look(places[run.variant]))
        if len(points) < 3:
            panel.dots(points, look(places[run.variant]))
    return panel.markup()


def _is_wide(values: Sequence[float]) -> bool:
    """Whether values need a logarithmic scale."""
    return min(values) > 0 and max(values) > _LOG_RATIO * min(values)


def _label(name: str, kept: Sequence[tuple[Record, list[Point]]]) -> str:
    """Where each variant's curves begin and end."""
    ends: dict[str, list[tuple[float, float]]] = {}
    for run, points in kept:
        ends.setdefault(run.variant, []).append((points[0][1], points[-1][1]))
    told = [
        f"{variant} from {sum(a for a, _ in found) / len(found):.3g} to {sum(b for _, b in found) / len(found):.3g}"
        for variant, found in ends.items()
    ]
    return f"{name} by optimizer step, {count(len(kept), 'run')}: {listed(told)}"


def thinned(points: Sequence[Point], most: int = _MAX_POINTS) -> list[Point]:
    """Return means of as many neighbours as it takes to have at most `most` points."""
    size = max(1, math.ceil(len(points) / most))
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def without_straight_middles(points: Sequence[Point]) -> list[Point]:
    """Return the points without those that lie on the line between their neighbours."""
    kept: list[Point] = []
    for i, (x, y) in enumerate(points):
        if kept and i + 1 < len(points):
            (x0, y0), (x1, y1) = kept[-1], points[i + 1]
            if x1 > x0 and abs(y0 + (y1 - y0) * (x - x0) / (x1 - x0) - y) <= 1e-9 * max(1.0, abs(y)):
                continue
        kept.append((x, y))
    return kept

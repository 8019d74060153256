"""Forest plots: a line per comparison, its interval drawn beside its figures."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from predgen.findings.base import Difference, Findings, Ordering
from predgen.report.drawing import Scale, scale_for, short_number, svg, text
from predgen.report.words import decimals_for

_WIDTH, _ROW, _AXIS, _EDGE = 300, 22, 22, 14


@dataclass(frozen=True, slots=True)
class ForestRow:
    """A comparison.

    Attributes:
        difference: Its figures.
        drawing: Its interval.
        verdict: The verdict with the variant's name.
        is_shown: Whether a difference is shown between methods of which one beats the constant baseline.
    """

    difference: Difference
    drawing: Markup
    verdict: str
    is_shown: bool


@dataclass(frozen=True, slots=True)
class Forest:
    """Comparisons on one task; right of the line at 0, the first variant is better.

    Attributes:
        task: Measured task.
        metric: Its primary metric.
        direction: "higher is better" or "lower is better".
        decimals: Digits after the point.
        axis: The axis of all drawings.
        rows: Comparisons.
        n_shown: How many show a difference.
    """

    task: str
    metric: str
    direction: str
    decimals: int
    axis: Markup
    rows: list[ForestRow]
    n_shown: int


@dataclass(frozen=True, slots=True)
class OrderingRow:
    """Two variants across tasks.

    Attributes:
        ordering: Its figures.
        drawing: Mean standardised difference with its interval.
    """

    ordering: Ordering
    drawing: Markup


def forests(found: Findings, differences: Sequence[Difference]) -> list[Forest]:
    """Return a plot per task that has comparisons."""
    by_task = {task: [d for d in differences if d.task == task] for task in found.tasks}
    return [_forest(found, task, own) for task, own in by_task.items() if own]


def across_tasks(found: Findings) -> tuple[list[OrderingRow], Markup]:
    """Return the pairs of variants across tasks, and their axis in standard deviations of a row's score."""
    kept = [o for o in found.ordering if len(o.tasks) > 1 and o.standardised is not None]
    # Two tasks give intervals so wide that nothing else could be seen beside them: they run out of the drawing.
    framing = [o for o in kept if len(o.tasks) > 2] or kept
    ends = [v for o in framing for v in (o.low, o.high) if v is not None] + [o.standardised or 0.0 for o in kept]
    scale = scale_for([0.0, *ends], _EDGE, _WIDTH - _EDGE)
    rows = [OrderingRow(o, _interval(scale, o.standardised, o.low, o.high, "open")) for o in kept]
    return rows, _axis(scale)


def _forest(found: Findings, task: str, differences: Sequence[Difference]) -> Forest:
    """The plot of one task."""
    sample = differences[0]
    ends = [v for d in differences for v in (d.estimate.value, d.estimate.low, d.estimate.high) if v is not None]
    scale = scale_for([0.0, *ends], _EDGE, _WIDTH - _EDGE)
    if not sample.greater_is_better:  # turned around, so that right is good for the first in every plot
        scale = Scale(scale.low, scale.high, scale.end, scale.start)
    rows = [_row(scale, difference, found.is_among_losers(difference)) for difference in differences]
    direction = "higher is better" if sample.greater_is_better else "lower is better"
    decimals = decimals_for(d.estimate for d in differences)
    return Forest(task, sample.metric, direction, decimals, _axis(scale), rows, sum(row.is_shown for row in rows))


def _row(scale: Scale, difference: Difference, is_among_losers: bool) -> ForestRow:
    """One comparison, drawn and in words."""
    winner = {"first better": difference.first, "second better": difference.second}.get(difference.verdict)
    is_shown = winner is not None and not is_among_losers
    side = {"first better": "first", "second better": "second"}[difference.verdict] if is_shown else "open"
    estimate = difference.estimate
    drawing = _interval(scale, estimate.value, estimate.low, estimate.high, side)
    verdict = difference.verdict if winner is None else f"{winner} better"
    if winner is not None and is_among_losers:
        verdict += "; neither is above constant"
    return ForestRow(difference, drawing, verdict, is_shown)


def _interval(scale: Scale, value: float | None, low: float | None, high: float | None, side: str) -> Markup:
    """A point with its interval, filled where a difference is shown."""
    middle, zero = _ROW / 2, scale(0.0)
    parts = [Markup('<path class="zero" d="M{:.1f} 0V{}"/>').format(zero, _ROW)]
    if low is not None and high is not None:
        ends = sorted((scale(low), scale(high)))
        left, right = max(ends[0], 2.0), min(ends[1], _WIDTH - 2.0)
        parts.append(Markup('<path class="span {}" d="M{:.1f} {}H{:.1f}"/>').format(side, left, middle, right))
        parts += [_arrow(left, 5, side)] * (ends[0] < left) + [_arrow(right, -5, side)] * (ends[1] > right)
    if value is not None:
        circle = Markup('<circle class="point {}" cx="{:.1f}" cy="{}" r="5"/>')
        parts.append(circle.format(side, scale(value), middle))
    return svg(_where(low, high, side), (_WIDTH, _ROW), parts)


def _arrow(tip: float, back: float, side: str) -> Markup:
    """The tip of an interval that goes on outside the drawing."""
    base, middle = tip + back, _ROW / 2
    path = f"M{base:.1f} {middle - 5}L{tip:.1f} {middle}L{base:.1f} {middle + 5}"
    return Markup('<path class="span {}" d="{}"/>').format(side, path)


def _where(low: float | None, high: float | None, side: str) -> str:
    """What the drawing shows."""
    if low is None or high is None:
        return "Difference without an interval"
    place = "contains" if low <= 0 <= high else "does not contain"
    shown = {"first": "; the first is better", "second": "; the second is better"}.get(side, "")
    return f"Interval {place} 0{shown}"


def _axis(scale: Scale) -> Markup:
    """The numbers above the drawings."""
    parts = [Markup('<path class="zero" d="M{:.1f} 16V{}"/>').format(scale(0.0), _AXIS)]
    ticks = scale.ticks(4)
    parts += [text(scale(tick), 12, short_number(tick), "middle") for tick in ticks]
    label = f"Axis from {short_number(ticks[0])} to {short_number(ticks[-1])}; right: the first is better"
    return svg(label, (_WIDTH, _AXIS), parts)

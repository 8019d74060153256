"""How far probabilities and numbers can be trusted: reliability diagrams, residuals, confusion matrices."""

import math
from collections import Counter
from dataclasses import dataclass

from markupsafe import Markup

from predgen.findings.base import Calibration, Entry, Residuals
from predgen.report.drawing import Panel, Point, Scale, frame, scale_for
from predgen.report.experiment import LoadedExperiment, Shown
from predgen.report.words import as_figure

_SIZE = (280, 220)
_MAX_CLASSES = 12
_MOST_CONFUSED = 20
UNREAD = "not readable"


@dataclass(frozen=True, slots=True)
class Reliability:
    """A reliability diagram with its figures, and what is gained by saying nothing about unsure rows."""

    entry: Entry
    calibration: Calibration
    drawing: Markup
    abstention: Markup | None


@dataclass(frozen=True, slots=True)
class ResidualPlot:
    """Errors of predicted numbers with their figures."""

    entry: Entry
    residuals: Residuals
    drawing: Markup


@dataclass(frozen=True, slots=True)
class Confusion:
    """Rows by true and predicted label.

    Attributes:
        shown: The run that was counted.
        predicted: Columns: predicted labels, and `UNREAD` where some could not be read.
        lines: True label -> (rows, share of the true label's rows, whether it is right) per column.
        pairs: (true, predicted, rows) of the most frequent confusions, where there are too many labels for a matrix.
    """

    shown: Shown
    predicted: list[str]
    lines: dict[str, list[tuple[int, float, bool]]]
    pairs: list[tuple[str, str, int]]


def reliability_diagrams(experiment: LoadedExperiment) -> dict[str, list[Reliability]]:
    """Return the diagrams of each task with label probabilities."""
    found: dict[str, list[Reliability]] = {}
    for entry in experiment.found.entries:
        if entry.calibration is not None and entry.variant in experiment.drawn:
            drawing = _reliability(entry, entry.calibration)
            curve = _abstention(entry, entry.calibration.abstention) if entry.calibration.abstention else None
            found.setdefault(entry.task, []).append(Reliability(entry, entry.calibration, drawing, curve))
    return found


def _reliability(entry: Entry, calibration: Calibration) -> Markup:
    """Share of right labels by P(predicted label); the bars below show how many rows there are."""
    across, up = frame(_SIZE)
    bins = [b for b in calibration.bins if b.rows and b.confidence is not None and b.accuracy is not None]
    most = max((b.rows for b in bins), default=1)
    label = (
        f"Reliability of {entry.variant} on {entry.task}: expected calibration error {as_figure(calibration.ece)}."
        f" {'; '.join(f'P {as_figure(b.confidence, 2)}: {as_figure(b.accuracy, 2)} right of {b.rows} rows' for b in bins)}"
    )
    unit = Scale(0.0, 1.0, *across), Scale(0.0, 1.0, *up)
    panel = Panel(label, *unit, "P(predicted label)", "share of right labels", _SIZE)
    for b in bins:
        panel.box((b.low, 0.0), (b.high, 0.25 * b.rows / most), "amount")
    panel.line([(0.0, 0.0), (1.0, 1.0)], "ideal")
    points = [(b.confidence or 0.0, b.accuracy or 0.0) for b in bins]
    panel.line(points, "plain")
    for b, point in zip(bins, points, strict=True):
        panel.line([(point[0], point[0]), point], "gap")
        panel.dots([point], "plain large" if b.rows >= most / 10 else "plain")
    return panel.markup()


def _abstention(entry: Entry, points: list[list[float]]) -> Markup:
    """Share of wrong answers by the share of rows that are answered, the most confident first."""
    across, up = frame(_SIZE)
    told = "; ".join(f"{share:.0%} answered: {as_figure(error, 2)} wrong" for share, error in points[1::2])
    label = f"Error of {entry.variant} on {entry.task} by the share of rows answered: {told}"
    axes = Scale(0.0, 1.0, *across), scale_for([0.0, *(error for _, error in points)], *up)
    panel = Panel(label, *axes, "share of rows answered", "share of these wrong", _SIZE)
    panel.line([(share, error) for share, error in points], "plain")
    return panel.markup()


def residual_plots(experiment: LoadedExperiment) -> dict[str, list[ResidualPlot]]:
    """Return the plots of each task whose answers are numbers to come close to; a task's plots share their axes."""
    found: dict[str, list[ResidualPlot]] = {}
    for task in experiment.found.tasks:
        entries = [e for e in experiment.found.entries if (e.task, e.kind) == (task, "regression")]
        entries = [e for e in entries if e.variant in experiment.drawn]
        kept = [(e, e.residuals, _errors(e.residuals)) for e in entries if e.residuals is not None]
        points = [point for _, _, own in kept for point in own]
        if points:
            across, up = frame(_SIZE)
            axes = scale_for([t for t, _ in points], *across), scale_for([0.0, *(e for _, e in points)], *up)
            found[task] = [ResidualPlot(e, r, _residuals(e, r, own, axes)) for e, r, own in kept]
    return found


def _errors(residuals: Residuals) -> list[Point]:
    """(target, prediction - target) of the rows that are shown."""
    return [(target, value - target) for target, value in residuals.points if math.isfinite(value - target)]


def _residuals(entry: Entry, residuals: Residuals, points: list[Point], axes: tuple[Scale, Scale]) -> Markup:
    """Errors by target, one dot a row."""
    label = (
        f"Errors of {entry.variant} on {entry.task}, {len(points)} rows: mean {as_figure(residuals.bias)}, standard deviation"
        f" {as_figure(residuals.spread)}."
    )
    panel = Panel(label, *axes, "target", "prediction \u2212 target", _SIZE)
    panel.line([(axes[0].low, 0.0), (axes[0].high, 0.0)], "ideal")
    panel.dots(points, "rows")
    return panel.markup()


def confusion_matrices(experiment: LoadedExperiment) -> dict[str, list[Confusion]]:
    """Count labels of each classification task, by each variant's first seed."""
    found: dict[str, list[Confusion]] = {}
    for task in experiment.found.tasks:
        for shown in experiment.of_task(task):
            if shown.kind == "classification" and shown.variant in experiment.drawn:
                found.setdefault(task, []).append(_confusion(shown))
    return found


def _confusion(shown: Shown) -> Confusion:
    """Count one run's labels."""
    columns = shown.measurement.predictions
    true = [str(label) for label in columns.target]
    said = [UNREAD if label is None else str(label) for label in columns.value]
    labels = list(dict.fromkeys([*map(str, columns.labels), *sorted({*true, *said} - {UNREAD})]))
    counts = Counter(zip(true, said, strict=True))
    if len(labels) > _MAX_CLASSES:
        pairs = [(a, b, n) for (a, b), n in counts.most_common() if a != b]
        return Confusion(shown, [], {}, pairs[:_MOST_CONFUSED])
    predicted = labels + [UNREAD] * (UNREAD in said)
    rows = Counter(true)
    lines = {a: [(counts[a, b], counts[a, b] / max(1, rows[a]), a == b) for b in predicted] for a in labels}
    return Confusion(shown, predicted, lines, [])

"""Can probabilities and intervals be trusted? Facts of one variant on one task, all seeds."""

from collections.abc import Sequence

import numpy as np

from predgen.findings.base import Bin, Calibration, Residuals
from predgen.findings.runs import Run
from predgen.metrics.classification import ACCURACY, LOG_LOSS
from predgen.metrics.weighted import Floats

N_BINS = 10
"""Bins of equal width for reliability diagram and ECE."""


def calibration(runs: Sequence[Run]) -> Calibration | None:
    """Measure the probabilities of labels.

    Args:
        runs: Runs of one variant on one task.

    Returns:
        Means over runs, and bins with the rows of all runs; None where a run gives no probabilities.

    Source: Guo et al. (2017), "On Calibration of Modern Neural Networks", eq. 3 (ECE); Brier (1950), in the form of a sum
    over all labels.
    """
    if not runs or any(run.measurement.predictions.probabilities is None for run in runs):
        return None
    confidence, right = zip(*map(_confidence, runs), strict=True)
    return Calibration(
        ece=float(np.mean([_ece(_bins(c, r)) for c, r in zip(confidence, right, strict=True)])),
        brier=float(np.mean([_brier(run) for run in runs])),
        log_loss=float(np.mean([LOG_LOSS.row_scores(run.rows()).mean() for run in runs])),
        bins=_bins(np.concatenate(confidence), np.concatenate(right)),
    )


def _confidence(run: Run) -> tuple[Floats, Floats]:
    """P(predicted label) of each row, and whether it is right."""
    rows = run.rows()
    assert rows.probabilities is not None
    said = rows.predictions[:, None] == np.array(rows.labels, dtype=object)
    return (said * rows.probabilities).sum(axis=1), ACCURACY.row_scores(rows)


def _bins(confidence: Floats, right: Floats) -> list[Bin]:
    """Reliability diagram."""
    edges = np.linspace(0, 1, N_BINS + 1)
    place = np.digitize(confidence, edges[1:-1], right=True)
    found = []
    for i in range(N_BINS):
        inside = place == i
        means = (float(confidence[inside].mean()), float(right[inside].mean())) if inside.any() else (None, None)
        found.append(Bin(float(edges[i]), float(edges[i + 1]), int(inside.sum()), *means))
    return found


def _ece(bins: Sequence[Bin]) -> float:
    """Expected calibration error."""
    gaps = [
        b.rows * abs(b.accuracy - b.confidence) for b in bins if b.accuracy is not None and b.confidence is not None
    ]
    return sum(gaps) / sum(b.rows for b in bins)


def _brier(run: Run) -> float:
    """Squared distance of the probabilities to the truth; a true label that has no column has probability 0."""
    rows = run.rows()
    assert rows.probabilities is not None
    truth = rows.targets[:, None] == np.array(rows.labels, dtype=object)
    unknown = ~truth.any(axis=1)
    return float(np.mean(((rows.probabilities - truth) ** 2).sum(axis=1) + unknown))


def residuals(runs: Sequence[Run]) -> Residuals | None:
    """Measure the errors of numbers.

    Args:
        runs: Runs of one variant on one regression task.

    Returns:
        Means over runs; None where a run has no readable number.
    """
    columns = [_read_numbers(run) for run in runs]
    if not columns or any(len(targets) == 0 for targets, _ in columns):
        return None
    errors = [values - targets for targets, values in columns]
    intervals = [_interval_facts(run) for run in runs]
    known = [facts for facts in intervals if facts is not None]
    coverage, width = np.mean(known, axis=0).tolist() if len(known) == len(runs) else (None, None)
    return Residuals(
        bias=float(np.mean([e.mean() for e in errors])),
        spread=float(np.mean([e.std() for e in errors])),
        coverage=coverage,
        width=width,
        points=np.stack(columns[0], axis=1).tolist(),
    )


def _read_numbers(run: Run) -> tuple[Floats, Floats]:
    """Targets and predictions of the rows whose number could be read."""
    rows = run.rows()
    read = ~np.isnan(rows.predictions)
    return rows.targets[read], rows.predictions[read]


def _interval_facts(run: Run) -> tuple[float, float] | None:
    """Share of targets inside the intervals, and their mean width."""
    p = run.measurement.predictions
    if p.interval is None:
        return None
    low, high = np.asarray(p.interval, dtype=np.float64).T
    target = np.asarray(p.target, dtype=np.float64)
    return float(np.mean((low <= target) & (target <= high))), float(np.mean(high - low))

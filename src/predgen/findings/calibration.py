"""Can probabilities and intervals be trusted? Facts of one variant on one task, all seeds."""

from collections.abc import Sequence

import numpy as np

from predgen.findings.base import Bin, Calibration, Residuals
from predgen.findings.runs import Run
from predgen.metrics.classification import LOG_LOSS
from predgen.metrics.probabilities import BRIER, ECE, N_BINS, confidence, reliability
from predgen.metrics.weighted import Floats
from predgen.uncertainty.abstention import curve

__all__ = ["N_BINS", "calibration", "residuals"]


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
    rows = [run.rows() for run in runs]
    sure, right = (np.concatenate(columns) for columns in zip(*map(confidence, rows), strict=True))
    return Calibration(
        ece=float(np.mean([ECE.on(own) for own in rows])),
        brier=float(np.mean([BRIER.on(own) for own in rows])),
        log_loss=float(np.mean([LOG_LOSS.on(own) for own in rows])),
        bins=[_bin(*told) for told in reliability(sure, right)],
        abstention=[[point["answered"], point["error"]] for point in curve(sure, right)],
    )


def _bin(low: float, high: float, rows: int, confidence: float, accuracy: float) -> Bin:
    """A bin; one without rows has no means."""
    return Bin(low, high, rows, confidence if rows else None, accuracy if rows else None)


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

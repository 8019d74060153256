"""How far chance among the rows moves the metric of one trained model: percentile bootstrap intervals.

They say what other test rows of the same kind would give. They say nothing about other seeds: runs with several seeds are
compared over those runs, see `bootstrap`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from predgen.errors import ConfigError
from predgen.metrics.base import Metric, metric_of
from predgen.metrics.bootstrap import CONFIDENCE, NOWHERE, Draws, percentile_interval
from predgen.metrics.rows import Column, Rows
from predgen.metrics.weighted import Floats, Weights

N_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Difference of two models on the same rows.

    Attributes:
        difference: Metric of the first minus metric of the second, on all rows.
        low: Lower end of the interval.
        high: Upper end of the interval; the models differ beyond chance where 0 lies outside.
    """

    difference: float
    low: float
    high: float


def bootstrap_interval(
    metric: Metric | str,
    targets: Column,
    predictions: Column,
    probabilities: Column | None = None,
    labels: Sequence[str] | None = None,
    facts: Mapping[str, Column] | None = None,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a metric over rows.

    Rows are drawn with replacement, all columns together. Resamples for which the metric is not defined (a
    correlation, where chance drew equal targets only) are left out; where they are more than half, or the metric is
    not defined on the rows themselves, or there are fewer than two rows, both ends are nan.

    Args:
        metric: A metric or its registry name.
        targets: True labels or numbers.
        predictions: Predicted labels or numbers.
        probabilities: P(label), rows x classes, for metrics that need them.
        labels: The columns of `probabilities`.
        facts: Numbers per row, for metrics that need them.
        n_resamples: Number of resamples, >= 1.
        seed: Seed of the draws; the same seed draws the same rows for every metric.
        confidence: Share of the resamples between the two ends, 0 < confidence < 1.

    Returns:
        Lower and upper end.

    Raises:
        ConfigError: If `n_resamples` or `confidence` is out of range, or the metric's name is unknown.
        DataError: If the columns do not fit together; see `Rows.checked`.

    Example:
        >>> bootstrap_interval("accuracy", ["a"] * 100, ["a"] * 80 + ["b"] * 20, n_resamples=200)
        (0.72, 0.89)
    """
    metric = metric_of(metric)
    rows = metric.rows(targets, predictions, probabilities, labels, facts)
    draws = _draws(len(rows), n_resamples, seed, confidence)
    return _of_one_seed(metric.on(rows), lambda weights: metric.on_resamples(rows, weights), draws, confidence)


def paired_difference(
    metric: Metric | str,
    targets: Column,
    first: Column,
    second: Column,
    *,
    probabilities: tuple[Any, Any] = (None, None),
    labels: Sequence[str] | None = None,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> PairedDifference:
    """Difference of two models' metrics on the same rows, with its bootstrap interval.

    Each resample draws the same rows for both models, so that what makes a row hard for both cancels; two separate
    intervals that overlap say much less. For regression metrics, rows that either model left unparsed are left out
    for both.

    Args:
        metric: A metric or its registry name.
        targets: True labels or numbers.
        first: Predictions of the first model.
        second: Predictions of the second model, for the same rows in the same order.
        probabilities: Both models' P(label), for metrics that need them.
        labels: The columns of both `probabilities`.
        n_resamples: Number of resamples, >= 1.
        seed: Seed of the draws.
        confidence: Share of the resamples between the two ends, 0 < confidence < 1.

    Returns:
        First minus second, and the ends of its interval (nan as in `bootstrap_interval`).

    Raises:
        ConfigError: If `n_resamples` or `confidence` is out of range, or the metric's name is unknown.
        DataError: If the columns do not fit together; see `Metric.rows`.

    Example:
        >>> paired_difference("mae", [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], [2.0, 3.0, 4.0, 5.0])
        PairedDifference(difference=-1.0, low=-1.0, high=-1.0)
    """
    metric = metric_of(metric)
    rows = [metric.rows(targets, *side, labels) for side in zip((first, second), probabilities, strict=True)]
    if metric.kind == "regression":
        rows = _parsed_by_both(rows)
    ours, theirs = rows
    draws = _draws(len(ours), n_resamples, seed, confidence)

    def difference(weights: Weights) -> Floats:
        return metric.on_resamples(ours, weights) - metric.on_resamples(theirs, weights)

    value = metric.on(ours) - metric.on(theirs)
    return PairedDifference(value, *_of_one_seed(value, difference, draws, confidence))


def _draws(n_rows: int, n_resamples: int, seed: int, confidence: float) -> Draws:
    """Check the settings and return the resamples."""
    if n_resamples < 1:
        raise ConfigError(f"`n_resamples` is {n_resamples}, but must be at least 1; 1000 is usual.")
    if not 0 < confidence < 1:
        raise ConfigError(f"`confidence` is {confidence}, but must lie between 0 and 1; 0.95 is usual.")
    return Draws(n_rows, n_resamples, seed)


def _of_one_seed(
    value: float, statistic: Callable[[Weights], Floats], draws: Draws, confidence: float
) -> tuple[float, float]:
    """Return the interval of a figure of one model; what is not defined on the rows is not resampled."""
    if draws.n_rows < 2 or np.isnan(value):
        return NOWHERE
    return percentile_interval([value], draws.over_rows(statistic)[:, None], draws, confidence=confidence)


def _parsed_by_both(rows: list[Rows]) -> list[Rows]:
    """Return the rows that both models could read."""
    parsed = ~(np.isnan(rows[0].predictions) | np.isnan(rows[1].predictions))
    return [side.take(parsed) for side in rows]

"""How far chance among the rows moves a metric: percentile bootstrap intervals.

They say what other test rows of the same kind would give, for one trained model. They say nothing about other seeds:
runs with several seeds are compared over those runs.

Source: Efron and Tibshirani (1993), "An Introduction to the Bootstrap", chapter 13.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from predgen import registries
from predgen.errors import ConfigError, DataError
from predgen.metrics.base import Metric, Rows, Values

_Index = npt.NDArray[np.int64]


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
    targets: Sequence[Any] | Values,
    predictions: Sequence[Any] | Values,
    probabilities: Sequence[Any] | Values | None = None,
    labels: Sequence[str] | None = None,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
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
        n_resamples: Number of resamples, >= 1.
        seed: Seed of the draws; the same seed draws the same rows for every metric.
        confidence: Share of the resamples between the two ends, 0 < confidence < 1.

    Returns:
        Lower and upper end.

    Raises:
        ConfigError: If `n_resamples` or `confidence` is out of range, or the metric's name is unknown.
        DataError: If the columns do not fit together; see `Metric.rows`.

    Example:
        >>> bootstrap_interval("accuracy", ["a"] * 100, ["a"] * 80 + ["b"] * 20, n_resamples=200)
        (0.72, 0.89)
    """
    metric = _resolve(metric)
    rows = metric.rows(targets, predictions, probabilities, labels)
    return _interval(lambda index: metric.on(rows.take(index)), len(rows), n_resamples, seed, confidence)


def paired_difference(
    metric: Metric | str,
    targets: Sequence[Any] | Values,
    first: Sequence[Any] | Values,
    second: Sequence[Any] | Values,
    *,
    probabilities: tuple[Any, Any] = (None, None),
    labels: Sequence[str] | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
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
    metric = _resolve(metric)
    rows = [metric.rows(targets, *side, labels) for side in zip((first, second), probabilities, strict=True)]
    if metric.kind == "regression":
        rows = _parsed_by_both(rows)

    def difference(index: _Index) -> float:
        return metric.on(rows[0].take(index)) - metric.on(rows[1].take(index))

    low, high = _interval(difference, len(rows[0]), n_resamples, seed, confidence)
    return PairedDifference(difference(np.arange(len(rows[0]))), low, high)


def _resolve(metric: Metric | str) -> Metric:
    """Return the metric behind a name."""
    if isinstance(metric, Metric):
        return metric
    found = registries.metrics.get(metric)
    if not isinstance(found, Metric):
        raise DataError(f"metric {metric!r} is registered as {type(found).__name__}; register a `Metric`.")
    return found


def _parsed_by_both(rows: list[Rows]) -> list[Rows]:
    """Return the rows that both models could read."""
    parsed = ~(np.isnan(rows[0].predictions) | np.isnan(rows[1].predictions))
    return [side.take(parsed) for side in rows]


def _interval(
    statistic: Callable[[_Index], float], n_rows: int, n_resamples: int, seed: int, confidence: float
) -> tuple[float, float]:
    """Return the percentiles of `statistic` over resampled row positions."""
    if n_resamples < 1:
        raise ConfigError(f"`n_resamples` is {n_resamples}, but must be at least 1; 1000 is usual.")
    if not 0 < confidence < 1:
        raise ConfigError(f"`confidence` is {confidence}, but must lie between 0 and 1; 0.95 is usual.")
    nothing = (float("nan"), float("nan"))
    if n_rows < 2 or np.isnan(statistic(np.arange(n_rows))):
        return nothing
    # One draw per resample keeps memory at n_rows however many resamples there are.
    generator = np.random.default_rng(seed)
    values = np.array([statistic(generator.integers(n_rows, size=n_rows)) for _ in range(n_resamples)])
    values = values[~np.isnan(values)]
    if 2 * len(values) < n_resamples:
        return nothing
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)

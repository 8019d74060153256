"""Measure predictions: the one way from columns to figures, for training, evaluation, comparison, baselines and demo."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from predgen import registries
from predgen.components import NO_SETTINGS
from predgen.metrics.base import Metric, metric_of
from predgen.metrics.distributions import DESCRIBED
from predgen.metrics.intervals import N_RESAMPLES, bootstrap_interval
from predgen.metrics.rows import Column


def measure(
    names: Iterable[str],
    targets: Column,
    values: Column,
    probabilities: Sequence[Any] | None = None,
    labels: Sequence[str] = (),
    *,
    own: Mapping[str, Any] = NO_SETTINGS,
    facts: Mapping[str, Column] = NO_SETTINGS,
) -> dict[str, float]:
    """Compute metrics on the same rows: all that can be computed from what is there.

    Args:
        names: Registry names of metrics, or such as describe intervals. Those that need probabilities are left out where a
            row has none.
        targets: True labels or numbers.
        values: Predicted labels or numbers; None or nan where the written text was not readable.
        probabilities: P(label) of each row, in the order of `labels`; None, for all rows or for one, where there are none.
        labels: All classes; empty for numbers.
        own: Settings of metrics that declare some; others are passed over.
        facts: Name -> a number per row, for metrics of whole distributions (`Metric.takes`); those that need them are left out
            without.

    Returns:
        Name -> value, in the order of `names`; nan where a metric is not defined on these rows.

    Raises:
        ConfigError: If a name is unknown.
        DataError: If the columns do not fit together; see `Rows.checked`.

    Example:
        >>> measure(["mse", "mae"], [1.0, 2.0, 4.0], [1.0, 3.0, 2.0])
        {'mse': 1.6666666666666667, 'mae': 1.0}
        >>> measure(["accuracy", "log_loss"], ["a", "b"], ["a", "a"], [(0.9, 0.1), None], ["a", "b"])
        {'accuracy': 0.5}
    """
    known = _complete(probabilities, labels)
    return {n: metric(targets, values, *known, facts) for n, metric in _computable(names, known, own, facts).items()}


def measure_intervals(
    names: Iterable[str],
    targets: Column,
    values: Column,
    probabilities: Sequence[Any] | None = None,
    labels: Sequence[str] = (),
    *,
    own: Mapping[str, Any] = NO_SETTINGS,
    facts: Mapping[str, Column] = NO_SETTINGS,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Return the 95 % bootstrap interval over rows of each metric that `measure` computes from the same arguments.

    Args:
        names: As in `measure`, like the other columns.
        targets: True labels or numbers.
        values: Predicted labels or numbers.
        probabilities: P(label) of each row.
        labels: All classes.
        own: Settings of metrics.
        facts: As in `measure`.
        n_resamples: Number of resamples, >= 1.
        seed: Seed of the draws, which are the same for all metrics.

    Raises:
        ConfigError: If a name is unknown, or `n_resamples` is out of range.
        DataError: If the columns do not fit together.
    """
    known = _complete(probabilities, labels)
    return {
        name: bootstrap_interval(metric, targets, values, *known, facts, n_resamples=n_resamples, seed=seed)
        for name, metric in _computable(names, known, own, facts).items()
    }


_Known = tuple[Sequence[Any] | None, Sequence[str] | None]


def _complete(probabilities: Sequence[Any] | None, labels: Sequence[str]) -> _Known:
    """Probabilities and labels where every row has them, else nothing."""
    has_all = bool(labels) and probabilities is not None and len(probabilities) > 0
    if has_all and all(row is not None for row in probabilities or ()):
        return probabilities, labels
    return None, None


def _computable(
    names: Iterable[str], known: _Known, own: Mapping[str, Any], facts: Mapping[str, Column]
) -> dict[str, Metric]:
    """Metrics by their registered names, without those that need what is not there."""
    found = {}
    for name in names:
        described = DESCRIBED.get(name)
        metric = described or metric_of(name, own)
        if metric.needs_probabilities and known[0] is None:
            continue
        if metric.needs_facts and not facts.keys() >= set(metric.takes):
            continue
        found[registries.metrics.canonical(name) if described is None else name] = metric
    return found

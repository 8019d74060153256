"""Metrics of numbers, on the raw scale of the targets.

Correlations and R2 are not defined for fewer than two rows, nor where a side that they divide by is constant: then
they are nan, with no warning. A constant is no correlation of 0: nothing was measured.
"""

import numpy as np
from scipy import stats
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from predgen.metrics.base import Metric, Probabilities, Values


def mse(
    targets: Values, predictions: Values, probabilities: Probabilities | None, labels: tuple[str, ...] | None
) -> float:
    """Mean of (prediction - target)^2, in squared units of the target.

    Example:
        >>> MSE([1.0, 2.0], [1.5, 1.0])
        0.625
    """
    return float(mean_squared_error(targets, predictions))


def rmse(
    targets: Values, predictions: Values, probabilities: Probabilities | None, labels: tuple[str, ...] | None
) -> float:
    """Square root of the mean squared error, in units of the target.

    Example:
        >>> RMSE([0.0, 0.0], [3.0, 3.0])
        3.0
    """
    return float(np.sqrt(mean_squared_error(targets, predictions)))


def mae(
    targets: Values, predictions: Values, probabilities: Probabilities | None, labels: tuple[str, ...] | None
) -> float:
    """Mean of |prediction - target|, in units of the target.

    Example:
        >>> MAE([1.0, 2.0], [1.5, 1.0])
        0.75
    """
    return float(mean_absolute_error(targets, predictions))


def pearson(
    targets: Values, predictions: Values, probabilities: Probabilities | None, labels: tuple[str, ...] | None
) -> float:
    """Linear correlation; nan if a side is constant up to rounding, or with fewer than two rows.

    Example:
        >>> round(PEARSON([1.0, 2.0, 3.0], [1.0, 2.0, 4.0]), 4)
        0.982
        >>> PEARSON([1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
        nan
    """
    if _is_constant(targets) or _is_constant(predictions):
        return float("nan")
    return float(stats.pearsonr(targets, predictions).statistic)


def spearman(
    targets: Values, predictions: Values, probabilities: Probabilities | None, labels: tuple[str, ...] | None
) -> float:
    """Correlation of the ranks, ties sharing their mean rank; nan if a side is constant, or below two rows.

    Example:
        >>> SPEARMAN([1.0, 2.0, 3.0], [1.0, 10.0, 100.0])
        1.0
    """
    if np.ptp(targets) == 0 or np.ptp(predictions) == 0:
        return float("nan")
    return float(stats.spearmanr(targets, predictions).statistic)


def r2(
    targets: Values, predictions: Values, probabilities: Probabilities | None, labels: tuple[str, ...] | None
) -> float:
    """1 - squared error / squared spread of the targets; nan if the targets are constant, or below two rows.

    Constant predictions are legal: predicting the targets' mean gives 0. scikit-learn returns 0 or 1 for constant
    targets; here they are nan like the correlations, because there is no spread to explain.

    Example:
        >>> R2([1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
        0.0
    """
    return float("nan") if _is_constant(targets) else float(r2_score(targets, predictions))


def _is_constant(values: Values) -> bool:
    """Whether the spread is rounding noise (scipy's bound: norm of the deviations <= 1e-13 |mean|)."""
    mean = float(values.mean())
    return bool(np.linalg.norm(values - mean) <= 1e-13 * abs(mean))


MSE = Metric("mse", "regression", greater_is_better=False, function=mse)
RMSE = Metric("rmse", "regression", greater_is_better=False, function=rmse)
MAE = Metric("mae", "regression", greater_is_better=False, function=mae)
PEARSON = Metric("pearson", "regression", greater_is_better=True, function=pearson)
SPEARMAN = Metric("spearman", "regression", greater_is_better=True, function=spearman)
R2 = Metric("r2", "regression", greater_is_better=True, function=r2)

"""Metrics of numbers, on the raw scale of the targets.

Correlations and R2 are not defined for fewer than two rows, nor where a side that they divide by is constant: then
they are nan, with no warning. A constant is no correlation of 0: nothing was measured.
"""

import numpy as np
from scipy import stats
from sklearn.metrics import r2_score

from predgen.metrics.base import Metric
from predgen.metrics.rows import Probabilities, Rows, Values
from predgen.metrics.weighted import Floats, Weights, correlation_of_resamples, ranks_of_resamples

_FROM_0 = (0.0, float("inf"))


def squared_error(rows: Rows) -> Floats:
    """MSE: mean of (prediction - target)^2, in squared units of the target. RMSE: its square root, in units of the target.

    Example:
        >>> MSE([1.0, 2.0], [1.5, 1.0])
        0.625
        >>> RMSE([0.0, 0.0], [3.0, 3.0])
        3.0
    """
    return np.asarray((rows.predictions - rows.targets) ** 2)


def absolute_error(rows: Rows) -> Floats:
    """MAE: mean of |prediction - target|, in units of the target. It rewards the median.

    Example:
        >>> MAE([1.0, 2.0], [1.5, 1.0])
        0.75
    """
    return np.asarray(np.abs(rows.predictions - rows.targets))


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


def _pearson_of_resamples(rows: Rows, weights: Weights) -> Floats:
    """Linear correlation of the drawn rows, R; both sides are moved by their mean over all rows, which changes none."""
    x, y = (np.broadcast_to(_centred(side), weights.shape) for side in (rows.targets, rows.predictions))
    return correlation_of_resamples(x, y, weights)


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


def _spearman_of_resamples(rows: Rows, weights: Weights) -> Floats:
    """Linear correlation of the drawn rows' ranks, R."""
    x, y = (ranks_of_resamples(side, weights) for side in (rows.targets, rows.predictions))
    return correlation_of_resamples(x, y, weights)


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


def _r2_of_resamples(rows: Rows, weights: Weights) -> Floats:
    """1 - mean squared error / variance of the drawn targets, R.

    The variance is E[t^2] - E[t]^2 over the drawn rows; targets are moved to 0 first, or the difference of two great
    numbers would be noise (targets like 1.7e9 lose all their digits in t^2).
    """
    n, centred = weights.sum(axis=1), _centred(rows.targets)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = weights @ centred**2 / n - (weights @ centred / n) ** 2
        error = weights @ squared_error(rows) / n
        varies = spread > 1e-13 * (centred**2).max(initial=0)
        explained: Floats = np.where(varies, 1 - error / spread, np.nan)
    return explained


def _centred(side: Floats) -> Floats:
    """A column minus its mean."""
    return side - side.mean() if len(side) else side


def _is_constant(values: Values) -> bool:
    """Whether the spread is rounding noise (scipy's bound: norm of the deviations <= 1e-13 |mean|)."""
    mean = float(values.mean())
    return bool(np.linalg.norm(values - mean) <= 1e-13 * abs(mean))


MSE = Metric("mse", "regression", greater_is_better=False, scores=squared_error, bounds=_FROM_0)
RMSE = Metric("rmse", "regression", greater_is_better=False, scores=squared_error, of_mean=np.sqrt, bounds=_FROM_0)
MAE = Metric("mae", "regression", greater_is_better=False, scores=absolute_error, bounds=_FROM_0, point="median")
PEARSON = Metric(
    "pearson",
    "regression",
    greater_is_better=True,
    function=pearson,
    resampled=_pearson_of_resamples,
    bounds=(-1.0, 1.0),
)
SPEARMAN = Metric(
    "spearman",
    "regression",
    greater_is_better=True,
    function=spearman,
    resampled=_spearman_of_resamples,
    bounds=(-1.0, 1.0),
)
R2 = Metric(
    "r2",
    "regression",
    greater_is_better=True,
    function=r2,
    resampled=_r2_of_resamples,
    bounds=(-float("inf"), 1.0),
)

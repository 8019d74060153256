"""Statistics of thousands of resamples at once.

A resample of N rows with replacement is a row of N counts: how often each row was drawn. R resamples are a matrix of
weights, R x N, and a mean of every resample is a matrix product with it: no row is copied, and no Python loop runs over
resamples. What is not a mean (a correlation, ranks) is made of weighted sums over the same matrix.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

Weights = Floats
"""How often each row was drawn, R resamples x N rows; whole numbers."""


def mean_of_resamples(scores: Floats, weights: Weights) -> Floats:
    """Mean score of each resample, over the rows that have one; nan where none was drawn.

    Args:
        scores: One score per row, N, or of several seeds, N x S; nan where a row has none.
        weights: How often each row was drawn, R x N.

    Returns:
        R, or R x S.

    Example:
        >>> mean_of_resamples(np.array([1.0, 0.0, np.nan]), np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 3.0]]))
        array([0.5, nan])
    """
    has_score = ~np.isnan(scores)
    count = weights @ has_score.astype(np.float64)
    total = weights @ np.where(has_score, scores, 0.0)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / count)


def ranks_of_resamples(x: Floats, weights: Weights) -> Floats:
    """Rank of each row among the drawn rows, ties sharing their mean rank, minus the middle rank; R x N.

    A row that was drawn three times ties with itself. Rows of equal x form a group; sorted by x, a group of k drawn rows
    after m lower ones holds ranks m + 1 ... m + k, whose mean is (m + k) - (k - 1) / 2, and m + k is the running sum of
    the groups' sizes. So no resample is sorted: all share the order of x, only the sizes differ.

    Example:
        >>> ranks_of_resamples(np.array([5.0, 7.0, 5.0]), np.array([[1.0, 1.0, 1.0], [2.0, 1.0, 0.0]])).tolist()
        [[-0.5, 1.0, -0.5], [-0.5, 1.0, -0.5]]
    """
    if len(x) == 0:
        return weights
    _, starts, group = np.unique(np.sort(x), return_index=True, return_inverse=True)
    order = np.argsort(x, kind="stable")
    sizes = np.add.reduceat(weights[:, order], starts, axis=1)  # R x groups
    group[order] = group.copy()
    middle = np.cumsum(sizes, axis=1) - (sizes - 1) / 2
    return np.asarray(middle[:, group] - (weights.sum(axis=1, keepdims=True) + 1) / 2)


def correlation_of_resamples(x: Floats, y: Floats, weights: Weights) -> Floats:
    """Linear correlation of each resample; nan where a side is constant.

    Args:
        x: Columns that lie around 0, R x N: the variance is a difference of two sums, which loses the digits that a
            great offset takes.
        y: The other side, likewise.
        weights: How often each row was drawn, R x N.

    Returns:
        R correlations.
    """
    n = weights.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_x, mean_y = (weights * x).sum(axis=1) / n, (weights * y).sum(axis=1) / n
        var_x = (weights * x * x).sum(axis=1) / n - mean_x**2
        var_y = (weights * y * y).sum(axis=1) / n - mean_y**2
        covariance = (weights * x * y).sum(axis=1) / n - mean_x * mean_y
        # What is left of a constant is rounding noise.
        varies = (var_x > 1e-13 * (x**2).max(axis=1, initial=0)) & (var_y > 1e-13 * (y**2).max(axis=1, initial=0))
        correlation: Floats = np.where(varies, covariance / np.sqrt(var_x * var_y), np.nan)
    return correlation

"""How far the probabilities of labels can be trusted, and how much is lost by saying nothing."""

import numpy as np
import numpy.typing as npt

from predgen.metrics.base import Metric
from predgen.metrics.rows import Probabilities, Rows, Values
from predgen.metrics.weighted import Floats, Weights

N_BINS = 10
"""Bins of equal width for reliability diagram and ECE."""


def squared_distance(rows: Rows) -> Floats:
    """Brier score: mean of sum over labels of (P - 1[label is right])^2, 0..2; a true label without a column has P 0.

    Source: Brier (1950), in its form of a sum over all labels.

    Example:
        >>> BRIER(["a", "b"], ["a", "a"], [[0.5, 0.5], [0.75, 0.25]], ["a", "b"])
        0.8125
    """
    assert rows.probabilities is not None  # `Metric.rows` has checked it
    truth = rows.targets[:, None] == np.array(rows.labels, dtype=object)
    return np.asarray(((rows.probabilities - truth) ** 2).sum(axis=1) + ~truth.any(axis=1), dtype=np.float64)


def confidence(rows: Rows) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """P(predicted label) of each row, and whether that is the true one."""
    assert rows.probabilities is not None
    said = rows.predictions[:, None] == np.array(rows.labels, dtype=object)
    return (said * rows.probabilities).sum(axis=1), np.asarray(rows.targets == rows.predictions, dtype=np.bool_)


def bin_of(confidence: Floats) -> npt.NDArray[np.int64]:
    """Return which of `N_BINS` bins of equal width each P(predicted label) lies in; a bin holds its upper end."""
    edges = np.linspace(0, 1, N_BINS + 1)
    return np.digitize(confidence, edges[1:-1], right=True).astype(np.int64)


def reliability(confidence: Floats, right: npt.NDArray[np.bool_]) -> list[tuple[float, float, int, float, float]]:
    """Return low, high, rows, mean confidence and share of right labels of each bin; nan of an empty one."""
    place, edges = bin_of(confidence), np.linspace(0, 1, N_BINS + 1)
    found = []
    for i in range(N_BINS):
        inside = place == i
        means = (confidence[inside].mean(), right[inside].mean()) if inside.any() else (np.nan, np.nan)
        found.append((float(edges[i]), float(edges[i + 1]), int(inside.sum()), float(means[0]), float(means[1])))
    return found


def ece(
    targets: Values, predictions: Values, probabilities: Probabilities | None, labels: tuple[str, ...] | None
) -> float:
    """Expected calibration error: |accuracy - confidence| over ten bins of equal width, weighed by rows.

    Chance alone makes it greater than 0, the more so the fewer rows there are. Source: Guo et al. (2017), "On Calibration of
    Modern Neural Networks", eq. 3.

    Example:
        >>> ECE(["a", "a"], ["a", "b"], [[0.75, 0.25], [0.25, 0.75]], ["a", "b"])
        0.25
    """
    rows = Rows(targets, predictions, probabilities, labels)
    return float(_ece_of_resamples(rows, np.ones((1, len(rows))))[0])


def _ece_of_resamples(rows: Rows, weights: Weights) -> Floats:
    """Sum over bins of |sum of (right - confidence)|, over the number of rows."""
    sure, right = confidence(rows)
    inside = (bin_of(sure)[:, None] == np.arange(N_BINS)) * (right - sure)[:, None]
    return np.asarray(np.abs(weights @ inside).sum(axis=1) / weights.sum(axis=1), dtype=np.float64)


def confident_first(confidence: Floats, right: npt.NDArray[np.bool_]) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return both columns, the most confident row first."""
    order = np.argsort(-confidence, kind="stable")
    return confidence[order], right[order]


def error_by_coverage(confidence: Floats, right: npt.NDArray[np.bool_]) -> Floats:
    """Return the share of wrong answers among the k most confident rows, k = 1..N; rows of equal confidence count as one step.

    Example:
        >>> error_by_coverage(np.array([0.9, 0.6, 0.8]), np.array([True, False, True])).round(3).tolist()
        [0.0, 0.0, 0.333]
    """
    confidence, right = confident_first(confidence, right)
    k = np.arange(1, len(right) + 1)
    error = (~right).cumsum() / k
    # A threshold answers all rows of one confidence or none: each of them has the error of the last.
    last = np.searchsorted(-confidence, -confidence, side="right") - 1
    return np.asarray(error[last], dtype=np.float64)


def aurc(
    targets: Values, predictions: Values, probabilities: Probabilities | None, labels: tuple[str, ...] | None
) -> float:
    """Area under the curve of error against coverage: mean over k of the error of the k most confident rows.

    0: all wrong rows are less confident than all right ones, and there are few; the error of all rows: confidence says nothing.
    Source: Geifman and El-Yaniv (2017), "Selective Classification for Deep Neural Networks", arXiv:1705.08500.

    Example:
        >>> round(AURC(["a", "a"], ["a", "b"], [[0.75, 0.25], [0.4, 0.6]], ["a", "b"]), 2)
        0.25
    """
    rows = Rows(targets, predictions, probabilities, labels)
    return float(_aurc_of_resamples(rows, np.ones((1, len(rows))))[0])


def _aurc_of_resamples(rows: Rows, weights: Weights) -> Floats:
    """Sum over steps of rows of one confidence: their number times the error down to there, over the number of rows."""
    sure, right = confidence(rows)
    order = np.argsort(-sure, kind="stable")
    starts = np.flatnonzero(np.diff(sure[order], prepend=np.inf))
    drawn = np.add.reduceat(weights[:, order], starts, axis=1)
    wrong = np.add.reduceat(weights[:, order] * ~right[order], starts, axis=1).cumsum(axis=1)
    answered = np.maximum(drawn.cumsum(axis=1), 1)  # none was drawn: then it weighs nothing
    return np.asarray((drawn * wrong / answered).sum(axis=1) / weights.sum(axis=1), dtype=np.float64)


def qwk(
    targets: Values, predictions: Values, probabilities: Probabilities | None, labels: tuple[str, ...] | None
) -> float:
    """Quadratic weighted kappa: agreement of labels that are levels in class order, beyond chance.

    1 - sum (i - j)^2 O_ij / sum (i - j)^2 E_ij, E what independent labels of the same frequencies give. An unparsed row is as
    far off as a label can be. nan where there is nothing to disagree about. Source: Cohen (1968), "Weighted kappa".

    Example:
        >>> QWK(["1", "2", "3"], ["1", "2", "2"], [[1, 0, 0], [0, 1, 0], [0, 1, 0]], ["1", "2", "3"])
        0.6666666666666667
    """
    rows = Rows(targets, predictions, probabilities, labels)
    return float(_qwk_of_resamples(rows, np.ones((1, len(rows))))[0])


def _qwk_of_resamples(rows: Rows, weights: Weights) -> Floats:
    """1 - E[(x - y)^2] / E[(x - y')^2], y' an independent y: variances and the squared distance of the means."""
    level = {label: place for place, label in enumerate(rows.labels or ())}
    x = np.array([level.get(label, len(level)) for label in rows.targets], dtype=np.float64)
    furthest = np.where(x < (len(level) - 1) / 2, len(level) - 1.0, 0.0)
    y = np.array([level.get(said, far) for said, far in zip(rows.predictions, furthest, strict=True)], dtype=np.float64)
    n = weights.sum(axis=1)
    mean_x, mean_y, apart = weights @ x / n, weights @ y / n, weights @ (x - y) ** 2 / n
    chance = weights @ x**2 / n - mean_x**2 + weights @ y**2 / n - mean_y**2 + (mean_x - mean_y) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(chance > 1e-12, 1 - apart / chance, np.nan), dtype=np.float64)


_SHARE = (0.0, 1.0)

BRIER = Metric(
    "brier",
    "classification",
    greater_is_better=False,
    needs_probabilities=True,
    scores=squared_distance,
    bounds=(0.0, 2.0),
)
ECE = Metric(
    "ece",
    "classification",
    greater_is_better=False,
    needs_probabilities=True,
    function=ece,
    resampled=_ece_of_resamples,
    bounds=_SHARE,
)
AURC = Metric(
    "aurc",
    "classification",
    greater_is_better=False,
    needs_probabilities=True,
    function=aurc,
    resampled=_aurc_of_resamples,
    bounds=_SHARE,
)
QWK = Metric(
    "qwk",
    "classification",
    greater_is_better=True,
    needs_probabilities=True,
    function=qwk,
    resampled=_qwk_of_resamples,
    bounds=(-1.0, 1.0),
)

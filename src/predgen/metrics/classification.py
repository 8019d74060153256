"""Metrics of labels. Labels are compared as they are: "Yes" is not "yes"."""

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from sklearn.metrics import f1_score

from predgen.metrics.base import Metric
from predgen.metrics.rows import Probabilities, Rows, Values
from predgen.metrics.weighted import Floats, Weights


def is_right(rows: Rows) -> npt.NDArray[np.bool_]:
    """Accuracy: share of rows whose label is right; an unparsed row is wrong.

    Example:
        >>> ACCURACY(["yes", "no", "no", "yes"], ["yes", "no", "yes", None])
        0.5
    """
    return np.asarray(rows.targets == rows.predictions)


def surprise(rows: Rows) -> Floats:
    """Log loss: mean of -log P(true label), in nats.

    Probabilities are clipped to 2.2e-16 (float64's epsilon, as scikit-learn does), so that one impossible row costs
    36 nats instead of making every model infinitely bad. A true label that is not among `labels`, for instance one
    that no training row had, has probability 0.

    Example:
        >>> round(LOG_LOSS(["a", "b"], ["a", "a"], [[0.5, 0.5], [0.75, 0.25]], ["a", "b"]), 4)
        1.0397
    """
    assert rows.probabilities is not None  # `Metric.rows` has checked it
    assert rows.labels is not None
    column_of = {label: column for column, label in enumerate(rows.labels)}
    columns = np.array([column_of.get(target, -1) for target in rows.targets], dtype=np.int64)
    right = np.where(columns < 0, 0.0, rows.probabilities[np.arange(len(rows)), columns])
    return np.asarray(-np.log(np.clip(right, np.finfo(np.float64).eps, 1.0)))


def macro_f1(
    targets: Values, predictions: Values, probabilities: Probabilities | None, labels: tuple[str, ...] | None
) -> float:
    """F1 of each class, averaged over the classes that occur among targets or predictions.

    An unparsed row is a miss of its true class and belongs to no other. A class that occurs on neither side has no
    F1 and does not enter the mean, so that the value does not depend on how many labels the task could have.

    Example:
        >>> round(MACRO_F1(["a", "a", "b"], ["a", "b", "b"]), 4)
        0.6667
    """
    encoded, n_classes = _codes(targets, predictions)
    return float(f1_score(*encoded, labels=list(range(n_classes)), average="macro", zero_division=0.0))


def _macro_f1_of_resamples(rows: Rows, weights: Weights) -> Floats:
    """F1 of each class that occurs in the resample, averaged over those.

    F1 = 2 hits / (times true + times predicted). Each of the three is a sum over drawn rows per class, so all are products of
    the weights, R x N, with indicators, N x K; these have one 1 a row, hence sparse. Sums of whole numbers are exact.
    """
    (true, predicted), n_classes = _codes(rows.targets, rows.predictions)
    hits = weights @ _indicators(np.where(true == predicted, true, -1), n_classes)
    occurrences = weights @ (_indicators(true, n_classes) + _indicators(predicted, n_classes))
    occurs = occurrences > 0
    f1 = 2 * hits / np.where(occurs, occurrences, 1)
    return np.asarray(f1.sum(axis=1) / occurs.sum(axis=1))


def _codes(targets: Values, predictions: Values) -> tuple[list[npt.NDArray[np.int64]], int]:
    """Number the classes that occur, and return both columns in these numbers (-1: unparsed), and how many there are."""
    codes: dict[object, int] = {}
    columns = [
        np.array([-1 if v is None else codes.setdefault(v, len(codes)) for v in side], dtype=np.int64)
        for side in (targets, predictions)
    ]
    return columns, len(codes)


def _indicators(codes: npt.NDArray[np.int64], n_classes: int) -> csr_array:
    """N x K matrix with a 1 in each row's class; a row of -1 has none."""
    at = np.flatnonzero(codes >= 0)
    return csr_array((np.ones(len(at)), (at, codes[at])), shape=(len(codes), n_classes))


ACCURACY = Metric("accuracy", "classification", greater_is_better=True, scores=is_right, bounds=(0.0, 1.0))
MACRO_F1 = Metric(
    "macro_f1",
    "classification",
    greater_is_better=True,
    function=macro_f1,
    resampled=_macro_f1_of_resamples,
    bounds=(0.0, 1.0),
)
LOG_LOSS = Metric(
    "log_loss",
    "classification",
    greater_is_better=False,
    needs_probabilities=True,
    scores=surprise,
    bounds=(0.0, float("inf")),
)

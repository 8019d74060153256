"""Metrics of labels. Labels are compared as they are: "Yes" is not "yes"."""

import numpy as np
from sklearn.metrics import f1_score

from predgen.metrics.base import Metric, Probabilities, Values


def accuracy(
    targets: Values, predictions: Values, probabilities: Probabilities | None, labels: tuple[str, ...] | None
) -> float:
    """Share of rows whose label is right; an unparsed row is wrong.

    Example:
        >>> ACCURACY(["yes", "no", "no", "yes"], ["yes", "no", "yes", None])
        0.5
    """
    return float(np.mean(targets == predictions))


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
    codes: dict[object, int] = {}
    encoded = [[-1 if v is None else codes.setdefault(v, len(codes)) for v in side] for side in (targets, predictions)]
    return float(f1_score(encoded[0], encoded[1], labels=list(codes.values()), average="macro", zero_division=0.0))


def log_loss(
    targets: Values, predictions: Values, probabilities: Probabilities | None, labels: tuple[str, ...] | None
) -> float:
    """Mean of -log P(true label), in nats.

    Probabilities are clipped to 2.2e-16 (float64's epsilon, as scikit-learn does), so that one impossible row costs
    36 nats instead of making every model infinitely bad. A true label that is not among `labels`, for instance one
    that no training row had, has probability 0.

    Example:
        >>> round(LOG_LOSS(["a", "b"], ["a", "a"], [[0.5, 0.5], [0.75, 0.25]], ["a", "b"]), 4)
        1.0397
    """
    assert probabilities is not None  # `Metric.rows` has checked it
    assert labels is not None
    column_of = {label: column for column, label in enumerate(labels)}
    columns = np.array([column_of.get(target, -1) for target in targets])
    right = np.where(columns < 0, 0.0, probabilities[np.arange(len(targets)), columns])
    return float(-np.mean(np.log(np.clip(right, np.finfo(np.float64).eps, 1.0))))


ACCURACY = Metric("accuracy", "classification", greater_is_better=True, function=accuracy)
MACRO_F1 = Metric("macro_f1", "classification", greater_is_better=True, function=macro_f1)
LOG_LOSS = Metric("log_loss", "classification", greater_is_better=False, function=log_loss, needs_probabilities=True)

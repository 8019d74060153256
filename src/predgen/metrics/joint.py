"""Figures of several answers of a row at once: label sets, levels, shares. By scikit-learn where it has them.

Columns are arrays of N rows; there are no intervals, and rows with an answer that is missing are left out by whoever calls.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from predgen.metrics.weighted import Floats

Booleans = npt.NDArray[np.bool_]


def figures_of_label_sets(truth: Booleans, probabilities: Floats) -> dict[str, float]:
    """Return figures of multi-label predictions: a label is predicted from a probability of 0.5 on.

    Args:
        truth: Whether each row has each label, N x L.
        probabilities: P(label), N x L.

    Returns:
        micro_f1, macro_f1 (mean over labels; 0 for one without a true or predicted row), subset_accuracy (all labels of a row right),
        average_precision_micro and average_precision (mean over labels that some row has), label_ranking_average_precision
        and label_ranking_loss; nan where no row has a label.

    Example:
        >>> found = figures_of_label_sets(np.array([[True, False]]), np.array([[0.9, 0.8]]))
        >>> found["subset_accuracy"], round(found["micro_f1"], 3)
        (0.0, 0.667)
    """
    from sklearn import metrics

    predicted = probabilities >= 0.5
    found = {
        "micro_f1": metrics.f1_score(truth, predicted, average="micro", zero_division=0),
        "macro_f1": metrics.f1_score(truth, predicted, average="macro", zero_division=0),
        "subset_accuracy": np.mean((truth == predicted).all(axis=1)),
    }
    known = truth.any(axis=0)
    if not known.any():
        names = (
            "average_precision_micro",
            "average_precision",
            "label_ranking_average_precision",
            "label_ranking_loss",
        )
        return _plain(found) | dict.fromkeys(names, float("nan"))
    each = [metrics.average_precision_score(truth[:, i], probabilities[:, i]) for i in np.flatnonzero(known)]
    found |= {
        "average_precision_micro": metrics.average_precision_score(truth.ravel(), probabilities.ravel()),
        "average_precision": np.mean(each),
        "label_ranking_average_precision": metrics.label_ranking_average_precision_score(truth, probabilities),
        "label_ranking_loss": metrics.label_ranking_loss(truth, probabilities),
    }
    return _plain(found)


def figures_of_levels(
    truth: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], n_levels: int
) -> dict[str, float]:
    """Return figures of ordinal labels: mean absolute error in levels, and quadratic weighted kappa.

    Args:
        truth: Place of each row's label in the order of the levels.
        predicted: The same of predictions.
        n_levels: How many levels there are.
    """
    from sklearn.metrics import cohen_kappa_score

    kappa = float("nan")
    if len(np.union1d(truth, predicted)) > 1:
        kappa = cohen_kappa_score(truth, predicted, labels=np.arange(n_levels), weights="quadratic")
    return _plain({"mae_in_levels": np.mean(np.abs(truth - predicted)), "qwk": kappa})


def divergence_from(shares: Floats, probabilities: Floats) -> float:
    """Return the mean Kullback-Leibler divergence of predictions from shares, in nats.

    Args:
        shares: Each row's distribution over labels, N x K.
        probabilities: P(label), N x K.

    Example:
        >>> divergence_from(np.array([[0.5, 0.5]]), np.array([[0.5, 0.5]]))
        0.0
    """
    tiny = np.finfo(np.float64).tiny
    terms = np.where(shares > 0, shares * np.log(np.maximum(shares, tiny) / np.maximum(probabilities, tiny)), 0.0)
    return float(np.mean(terms.sum(axis=1)))


def _plain(found: dict[str, Any]) -> dict[str, float]:
    """Numpy's numbers as Python's."""
    return {name: float(value) for name, value in found.items()}

"""Metric of math answers."""

import numpy as np

from predgen.metrics.base import Metric, Probabilities, Values

TOLERANCE = 1e-4
"""Largest difference that still counts as equal, exclusive (paper, appendix F: "less than 0.0001")."""


def exact_match(
    targets: Values, predictions: Values, probabilities: Probabilities | None, labels: tuple[str, ...] | None
) -> float:
    """Share of rows with |prediction - target| < 1e-4; an unparsed row is wrong.

    Example:
        >>> EXACT_MATCH([72.0, 10.0, 0.5], [72.0, 11.0, None])
        0.3333333333333333
    """
    return float(np.mean(np.abs(targets - predictions) < TOLERANCE))  # nan < x is False: wrong


EXACT_MATCH = Metric("exact_match", "math", greater_is_better=True, function=exact_match)

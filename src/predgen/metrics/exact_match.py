"""Metric of math answers."""

import numpy as np
import numpy.typing as npt

from predgen.core import ANSWER_TOLERANCE
from predgen.metrics.base import Metric
from predgen.metrics.rows import Rows

_EQUAL = float(ANSWER_TOLERANCE)


def is_exact(rows: Rows) -> npt.NDArray[np.bool_]:
    """Exact match: share of rows with |prediction - target| < 1e-4; an unparsed row is wrong.

    Example:
        >>> EXACT_MATCH([72.0, 10.0, 0.5], [72.0, 11.0, None])
        0.3333333333333333
    """
    return np.asarray(np.abs(rows.targets - rows.predictions) < _EQUAL)  # nan < x is False: wrong


EXACT_MATCH = Metric("exact_match", "math", greater_is_better=True, scores=is_exact, bounds=(0.0, 1.0))

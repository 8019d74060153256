"""Metrics of whole distributions. What they need of one is measured row by row, as facts (`Rows.facts`).

CRPS judges models and checkpoints. The others describe sets and intervals, which are right where coverage is what was asked
for, not where it is highest: nothing is chosen by them, so that they are in no registry.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from predgen.core import Kind
from predgen.metrics.base import Metric
from predgen.metrics.rows import Rows
from predgen.metrics.weighted import Floats


def crps_of_rows(rows: Rows) -> Floats:
    """Continuous ranked probability score, in units of the target: integral (F(x) - 1[target <= x])^2 dx.

    A row without a distribution has all mass on its number: then it is the absolute error. Source: Gneiting and Raftery
    (2007), "Strictly Proper Scoring Rules, Prediction, and Estimation", section 4.2.

    Example:
        >>> CRPS([1.0, 2.0], [1.0, 2.5], facts={"crps": [0.25, 0.5]}), CRPS([1.0, 2.0], [1.0, 2.5])
        (0.375, 0.25)
    """
    return rows.facts["crps"] if "crps" in rows.facts else np.asarray(np.abs(rows.predictions - rows.targets))


_FROM_0 = (0.0, float("inf"))

CRPS = Metric("crps", "regression", greater_is_better=False, scores=crps_of_rows, takes=("crps",), bounds=_FROM_0)


def _mean_of(name: str) -> Callable[[Rows], Any]:
    """Scores that are a fact of each row."""
    return lambda rows: rows.facts[name]


def _described(name: str, kind: Kind, *, rises: bool, highest: float = float("inf")) -> Metric:
    """A metric that describes sets or intervals."""
    return Metric(name, kind, rises, scores=_mean_of(name), takes=(name,), needs_facts=True, bounds=(0.0, highest))


DESCRIBED = {
    metric.name: metric
    for metric in (
        _described("set_coverage", "classification", rises=True, highest=1.0),
        _described("set_size", "classification", rises=False),
        _described("number_nll", "regression", rises=False),
        _described("coverage", "regression", rises=True, highest=1.0),
        _described("width", "regression", rises=False),
    )
}
"""Name -> mean of a fact: share of 90 % sets and intervals that hold the truth, labels in a set, width of an interval in units
of the target, and -log P(the number of the grid nearest to the target), in nats."""

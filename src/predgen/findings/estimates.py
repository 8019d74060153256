"""Figures over seeds and rows, with their intervals."""

import math
from collections.abc import Sequence

import numpy as np

from predgen.findings.base import Chance, MetricEstimate
from predgen.metrics.base import UNBOUNDED
from predgen.metrics.bootstrap import Draws, percentile_interval
from predgen.metrics.weighted import Floats


def estimate(
    by_seed: Sequence[float],
    resampled: Floats | None,
    draws: Draws,
    bounds: tuple[float, float] = UNBOUNDED,
) -> MetricEstimate:
    """Return a figure with its interval.

    Args:
        by_seed: The figure of each seed on all rows, S; nan where it is not defined.
        resampled: The same on resamples of rows, R x S; None where it cannot be resampled.
        draws: The resamples.
        bounds: Least and greatest possible figure; a widened interval ends there.

    Returns:
        The mean over seeds, None where a seed has no figure; and ends that are None where `bootstrap.percentile_interval` has none.
    """
    known: list[float | None] = [None if math.isnan(value) else value for value in by_seed]
    if None in known or not known:
        return MetricEstimate(None, None, None, known, "nothing")
    value = float(np.mean(by_seed))
    low, high = (math.nan, math.nan) if resampled is None else percentile_interval(by_seed, resampled, draws, bounds)
    if math.isnan(low):
        return MetricEstimate(value, None, None, known, "nothing")
    chance: Chance = "rows and seeds" if len(by_seed) > 1 else "rows only"
    return MetricEstimate(value, low, high, known, chance)

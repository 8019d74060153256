"""Chance among rows and seeds: the bootstrap, over rows alone or over both.

Rows and seeds are two samples that cross: every seed's model meets every row. A resample draws rows with replacement, the
same for all seeds and methods, and seeds with replacement; a figure is the mean over the drawn seeds of the metric on
the drawn rows.

Few seeds are the difficulty. Where seeds differ much, percentiles of resamples of 3 seeds lie between the least and
the greatest of the 3: such an interval of "95 %" holds the truth in 75 % of experiments (1 - 2 / 2^3). Therefore the
percentiles are moved away from the figure until they are as wide as Student's t makes an interval whose variance is that
of the rows' resamples plus that of the seeds' mean, with Satterthwaite's degrees of freedom. This counts chance that
belongs to a row and a seed together in both, so it errs on the wide side.

With one seed only rows are drawn, and the interval says nothing about other seeds: it is the plain percentile bootstrap.

Source: Efron and Tibshirani (1993), "An Introduction to the Bootstrap", chapter 13 (percentiles); Owen (2007), "The
pigeonhole bootstrap", Annals of Applied Statistics 1 (rows and seeds drawn apart); Clark (1973), "The
language-as-fixed-effect fallacy" (variance and degrees of freedom, as in min F'); Hesterberg (2015), "What Teachers
Should Know About the Bootstrap", The American Statistician 69 (percentiles of small samples are too narrow). Differs: he
takes percentiles further out, of which 3 seeds have none; here the distance from the figure is multiplied.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from predgen.metrics.base import UNBOUNDED
from predgen.metrics.weighted import Floats, Weights

CONFIDENCE = 0.95
_CELLS = 1_000_000
"""Most weights to hold as float64 at a time (8 MB)."""

NOWHERE = (float("nan"), float("nan"))
"""Ends of an interval that is not defined."""


@dataclass(frozen=True, slots=True)
class Draws:
    """Resamples of rows and of seeds, by seed: all methods of a task meet the same ones.

    Attributes:
        n_rows: Rows to draw from, N >= 1.
        n_resamples: Number of resamples, R.
        seed: Seed of the draws.
    """

    n_rows: int
    n_resamples: int
    seed: int

    def over_rows(self, statistic: Callable[[Weights], Floats]) -> Floats:
        """Return a statistic of every resample of rows.

        Args:
            statistic: Weights (r x N) -> values, the first axis for resamples; the others are up to it.

        Returns:
            Values of all R resamples; they are drawn in parts of r, so that memory does not grow with R x N.
        """
        generator = np.random.default_rng([self.seed, 0])
        step = max(1, _CELLS // self.n_rows)
        parts = []
        for start in range(0, self.n_resamples, step):
            n = min(step, self.n_resamples - start)
            rows = generator.integers(self.n_rows, size=(n, self.n_rows))
            # How often was each row drawn? One count over all n resamples at once: row j of resample i is number i N + j.
            flat = (rows + self.n_rows * np.arange(n)[:, None]).ravel()
            weights = np.bincount(flat, minlength=n * self.n_rows).reshape(n, self.n_rows)
            parts.append(statistic(weights.astype(np.float64)))
        return np.concatenate(parts)

    def of_seeds(self, n_seeds: int) -> npt.NDArray[np.int64]:
        """Return positions of drawn seeds, R x S."""
        return np.random.default_rng([self.seed, 1]).integers(n_seeds, size=(self.n_resamples, n_seeds))


def percentile_interval(
    by_seed: Sequence[float],
    resampled: Floats,
    draws: Draws,
    bounds: tuple[float, float] = UNBOUNDED,
    confidence: float = CONFIDENCE,
) -> tuple[float, float]:
    """Return the ends of a figure's interval.

    Args:
        by_seed: The figure of each seed on all rows, S; nan where it is not defined.
        resampled: The same on resamples of rows, R x S.
        draws: The resamples.
        bounds: Least and greatest possible figure; a widened interval ends there.
        confidence: Share of the resamples between the two ends.

    Returns:
        Lower and upper end; nan where the figure is not defined on the rows, or on more than half of the resamples, or
        there are fewer than two rows.
    """
    if draws.n_rows < 2 or np.isnan(by_seed).any():
        return NOWHERE
    defined = np.asarray(~np.isnan(resampled).any(axis=1))
    if 2 * np.count_nonzero(defined) < len(defined):
        return NOWHERE
    seeds = draws.of_seeds(len(by_seed))[defined]
    low, high = _widened(np.asarray(by_seed), resampled[defined], seeds, draws.n_rows, confidence)
    return max(low, bounds[0]), min(high, bounds[1])


def _widened(
    by_seed: Floats, resampled: Floats, seeds: npt.NDArray[np.int64], n_rows: int, confidence: float
) -> tuple[float, float]:
    """Return percentiles over rows and seeds, widened for few seeds; as they are for one (see the module).

    by_seed: S figures; resampled: R x S, every seed's figure on the same drawn rows; seeds: R x S positions of drawn seeds.
    """
    # Each resample of rows is joined with one of seeds: its figure is the mean over the seeds drawn, some of them twice.
    value = by_seed.mean()
    hierarchical = np.take_along_axis(resampled, seeds, axis=1).mean(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(hierarchical, [tail, 1 - tail])
    spread = float(hierarchical.std())
    if len(by_seed) == 1 or spread == 0:
        return float(low), float(high)
    # How wide should it be? Rows: the variance, over resamples, of the mean over all seeds; a bootstrap's variance of a mean
    # lacks the factor n / (n - 1). Seeds: the variance of their mean. A normal interval of the resamples' own spread would
    # reach z spread to each side, and should reach t error: both ends move away from the figure by that factor, each keeping
    # its share, so that a skewed interval stays skewed. They never move in.
    rows = float(resampled.mean(axis=1).var()) * n_rows / (n_rows - 1)
    seeds_part = float(by_seed.var(ddof=1)) / len(by_seed)
    error, freedom = joined_error(rows, n_rows, seeds_part, len(by_seed))
    wide = stats.t.ppf(1 - tail, freedom) * error / (stats.norm.ppf(1 - tail) * spread)
    factor = max(1.0, float(wide))
    return float(value - factor * (value - low)), float(value + factor * (high - value))


def joined_error(rows: float, n_rows: int, seeds: float, n_seeds: int) -> tuple[float, float]:
    """Join two variances of a mean.

    Args:
        rows: Variance that comes with rows.
        n_rows: Number of rows, > 1.
        seeds: Variance that comes with seeds; 0 for one seed.
        n_seeds: Number of seeds.

    Returns:
        The standard error, and Satterthwaite's degrees of freedom: (rows + seeds)^2 / (rows^2 / (n_rows - 1) + seeds^2 /
        (n_seeds - 1)), between the lesser of the two numbers minus 1 and their sum.

    Example:
        >>> error, freedom = joined_error(0.0009, 101, 0.0016, 3)
        >>> round(error, 3), round(freedom, 2)
        (0.05, 4.85)
    """
    total = rows + seeds
    if total == 0:
        return 0.0, float(n_rows - 1)
    by_rows = (rows / total) ** 2 / (n_rows - 1)
    by_seeds = (seeds / total) ** 2 / (n_seeds - 1) if n_seeds > 1 else 0.0
    return math.sqrt(total), 1 / (by_rows + by_seeds)

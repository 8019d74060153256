"""Chance among rows and seeds: a bootstrap over both, and metrics of many resamples at once.

Rows and seeds are two samples that cross: every seed's model meets every row. A resample draws rows with replacement, the
same for all seeds and methods, and seeds with replacement; a figure is the mean over the drawn seeds of the metric on
the drawn rows.

Few seeds are the difficulty. Where seeds differ much, percentiles of resamples of 3 seeds lie between the least and
the greatest of the 3: such an interval of "95 %" holds the truth in 75 % of experiments (1 - 2 / 2^3). Therefore the
percentiles are moved away from the figure until they are as wide as Student's t makes an interval whose variance is that
of the rows' resamples plus that of the seeds' mean, with Satterthwaite's degrees of freedom. This counts chance that
belongs to a row and a seed together in both, so it errs on the wide side.

With one seed only rows are drawn, and the interval says nothing about other seeds.

Source: Owen (2007), "The pigeonhole bootstrap", Annals of Applied Statistics 1 (rows and seeds drawn apart); Clark (1973),
"The language-as-fixed-effect fallacy" (variance and degrees of freedom, as in min F'); Hesterberg (2015), "What Teachers
Should Know About the Bootstrap", The American Statistician 69 (percentiles of small samples are too narrow). Differs: he
takes percentiles further out, of which 3 seeds have none; here the distance from the figure is multiplied.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from predgen.compare.findings import Chance, Estimate
from predgen.metrics.base import Rows
from predgen.metrics.math import TOLERANCE

Floats = npt.NDArray[np.float64]
Weights = Floats
"""How often each row was drawn, resamples x rows."""

CONFIDENCE = 0.95
_CELLS = 1_000_000
"""Most weights to hold as float64 at a time (8 MB)."""


@dataclass(frozen=True, slots=True)
class Draws:
    """Resamples of rows and of seeds, by seed: all methods of a task meet the same ones.

    Attributes:
        n_rows: Rows to draw from, >= 1.
        n_resamples: Number of resamples.
        seed: Seed of the draws.
    """

    n_rows: int
    n_resamples: int
    seed: int

    def over_rows(self, statistic: Callable[[Weights], Floats]) -> Floats:
        """Return a statistic of every resample of rows.

        Args:
            statistic: Weights -> values, the first axis for resamples; the others are up to it.
        """
        generator = np.random.default_rng([self.seed, 0])
        step = max(1, _CELLS // self.n_rows)
        parts = []
        for start in range(0, self.n_resamples, step):
            n = min(step, self.n_resamples - start)
            rows = generator.integers(self.n_rows, size=(n, self.n_rows))
            flat = (rows + self.n_rows * np.arange(n)[:, None]).ravel()
            weights = np.bincount(flat, minlength=n * self.n_rows).reshape(n, self.n_rows)
            parts.append(statistic(weights.astype(np.float64)))
        return np.concatenate(parts)

    def of_seeds(self, n_seeds: int) -> npt.NDArray[np.int64]:
        """Return positions of drawn seeds, resamples x seeds."""
        return np.random.default_rng([self.seed, 1]).integers(n_seeds, size=(self.n_resamples, n_seeds))


def estimate(
    by_seed: Sequence[float],
    resampled: Floats | None,
    draws: Draws,
    bounds: tuple[float, float] | None = None,
) -> Estimate:
    """Return a figure with its interval.

    Args:
        by_seed: The figure of each seed on all rows; nan where it is not defined.
        resampled: The same on resamples of rows, resamples x seeds; None where it cannot be resampled.
        draws: The resamples.
        bounds: Least and greatest possible figure, where there are such; a widened interval ends there.

    Returns:
        The mean over seeds, and ends that are None where the figure is not defined on the rows, or on more than half of
        the resamples, or there are fewer than two rows.
    """
    known: list[float | None] = [None if math.isnan(value) else value for value in by_seed]
    if None in known or not known:
        return Estimate(None, None, None, known, "nothing")
    value = float(np.mean(by_seed))
    if resampled is None or draws.n_rows < 2:
        return Estimate(value, None, None, known, "nothing")
    defined = np.asarray(~np.isnan(resampled).any(axis=1))
    if 2 * np.count_nonzero(defined) < len(defined):
        return Estimate(value, None, None, known, "nothing")
    low, high = _widened(np.asarray(by_seed), resampled[defined], draws.of_seeds(len(by_seed))[defined], draws.n_rows)
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    chance: Chance = "rows and seeds" if len(by_seed) > 1 else "rows only"
    return Estimate(value, low, high, known, chance)


def _widened(by_seed: Floats, resampled: Floats, seeds: npt.NDArray[np.int64], n_rows: int) -> tuple[float, float]:
    """Return percentiles over rows and seeds, widened for few seeds; as they are for one (see the module)."""
    value = by_seed.mean()
    hierarchical = np.take_along_axis(resampled, seeds, axis=1).mean(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(hierarchical, [tail, 1 - tail])
    spread = float(hierarchical.std())
    if len(by_seed) == 1 or spread == 0:
        return float(low), float(high)
    # A bootstrap's variance of a mean lacks the factor n / (n - 1).
    rows = float(resampled.mean(axis=1).var()) * n_rows / (n_rows - 1)
    seeds_part = float(by_seed.var(ddof=1)) / len(by_seed)
    error, freedom = standard_error(rows, n_rows, seeds_part, len(by_seed))
    wide = stats.t.ppf(1 - tail, freedom) * error / (stats.norm.ppf(1 - tail) * spread)
    factor = max(1.0, float(wide))
    return float(value - factor * (value - low)), float(value + factor * (high - value))


def standard_error(rows: float, n_rows: int, seeds: float, n_seeds: int) -> tuple[float, float]:
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
        >>> error, freedom = standard_error(0.0009, 101, 0.0016, 3)
        >>> round(error, 3), round(freedom, 2)
        (0.05, 4.85)
    """
    total = rows + seeds
    if total == 0:
        return 0.0, float(n_rows - 1)
    by_rows = (rows / total) ** 2 / (n_rows - 1)
    by_seeds = (seeds / total) ** 2 / (n_seeds - 1) if n_seeds > 1 else 0.0
    return math.sqrt(total), 1 / (by_rows + by_seeds)


def row_scores(metric: str, rows: Rows) -> Floats:
    """Score of each row; the metric is the mean over rows.

    Args:
        metric: "accuracy", "exact_match", "mse", "mae" or "log_loss".
        rows: Checked columns; for log_loss with probabilities.

    Returns:
        One score per row; nan where a number could not be read ("mse" and "mae" leave such rows out).
    """
    return _SCORES[metric](rows)


def _log_losses(rows: Rows) -> Floats:
    """-log P(right label), clipped as in `metrics.classification`."""
    assert rows.probabilities is not None
    assert rows.labels is not None
    right = (rows.targets[:, None] == np.array(rows.labels, dtype=object)) * rows.probabilities
    losses: Floats = -np.log(np.clip(right.sum(axis=1), np.finfo(np.float64).eps, 1.0))
    return losses


_SCORES: Mapping[str, Callable[[Rows], Floats]] = {
    "accuracy": lambda rows: (rows.targets == rows.predictions).astype(np.float64),
    "exact_match": lambda rows: (np.abs(rows.targets - rows.predictions) < TOLERANCE).astype(np.float64),
    "mse": lambda rows: np.asarray((rows.predictions - rows.targets) ** 2),
    "mae": lambda rows: np.asarray(np.abs(rows.predictions - rows.targets)),
    "log_loss": _log_losses,
}


def weighted_mean(scores: Floats, weights: Weights) -> Floats:
    """Mean score of each resample, over the rows that have one; nan where none was drawn.

    Args:
        scores: One score per row, or rows x seeds.
        weights: How often each row was drawn.
    """
    has_score = ~np.isnan(scores)
    count = weights @ has_score.astype(np.float64)
    total = weights @ np.where(has_score, scores, 0.0)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / count)


RANGES = {
    "accuracy": (0.0, 1.0),
    "macro_f1": (0.0, 1.0),
    "exact_match": (0.0, 1.0),
    "pearson": (-1.0, 1.0),
    "spearman": (-1.0, 1.0),
    "r2": (-math.inf, 1.0),
    "mse": (0.0, math.inf),
    "mae": (0.0, math.inf),
    "rmse": (0.0, math.inf),
    "log_loss": (0.0, math.inf),
}
"""Metrics that `metric_of_resamples` knows, with their least and greatest value."""


def metric_of_resamples(name: str, rows: Rows, weights: Weights) -> Floats:
    """A metric of every resample, the same values that `Metric.on` gives on the drawn rows.

    Args:
        name: One of `RANGES`.
        rows: Checked columns.
        weights: How often each row was drawn, resamples x rows.

    Returns:
        One value per resample, nan where the metric is not defined.
    """
    if name in _SCORES:
        return weighted_mean(row_scores(name, rows), weights)
    if name == "rmse":
        return np.asarray(np.sqrt(weighted_mean(row_scores("mse", rows), weights)))
    if name == "macro_f1":
        return _macro_f1(rows, weights)
    read = ~np.isnan(rows.predictions)
    return _OF_NUMBERS[name](rows.targets[read], rows.predictions[read], weights[:, read])


def _macro_f1(rows: Rows, weights: Weights) -> Floats:
    """F1 of each class that occurs in the resample, averaged over those."""
    codes = {label: code for code, label in enumerate(dict.fromkeys([*rows.targets, *rows.predictions]))}
    codes.pop(None, None)
    classes = np.array(list(codes), dtype=object)
    true, said = (side[:, None] == classes for side in (rows.targets, rows.predictions))
    hits, occurrences = weights @ (true & said), weights @ (true.astype(np.float64) + said)
    occurs = occurrences > 0
    f1 = 2 * hits / np.where(occurs, occurrences, 1)
    return np.asarray(f1.sum(axis=1) / occurs.sum(axis=1))


def _pearson(x: Floats, y: Floats, weights: Weights) -> Floats:
    """Linear correlation of the drawn rows."""
    x, y = (side - side.mean() if len(side) else side for side in (x, y))
    return _correlation(np.broadcast_to(x, weights.shape), np.broadcast_to(y, weights.shape), weights)


def _spearman(x: Floats, y: Floats, weights: Weights) -> Floats:
    """Correlation of the drawn rows' ranks."""
    return _correlation(_ranks(x, weights), _ranks(y, weights), weights)


def _ranks(x: Floats, weights: Weights) -> Floats:
    """Rank of each row among the drawn rows, ties sharing their mean rank, minus the middle rank."""
    if len(x) == 0:
        return weights
    _, starts, group = np.unique(np.sort(x), return_index=True, return_inverse=True)
    order = np.argsort(x, kind="stable")
    sizes = np.add.reduceat(weights[:, order], starts, axis=1)
    group[order] = group.copy()
    middle = np.cumsum(sizes, axis=1) - (sizes - 1) / 2
    return np.asarray(middle[:, group] - (weights.sum(axis=1, keepdims=True) + 1) / 2)


def _correlation(x: Floats, y: Floats, weights: Weights) -> Floats:
    """Weighted correlation of columns that lie around 0; nan where one is constant."""
    n = weights.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_x, mean_y = (weights * x).sum(axis=1) / n, (weights * y).sum(axis=1) / n
        var_x = (weights * x * x).sum(axis=1) / n - mean_x**2
        var_y = (weights * y * y).sum(axis=1) / n - mean_y**2
        covariance = (weights * x * y).sum(axis=1) / n - mean_x * mean_y
        # What is left of a constant is rounding noise.
        varies = (var_x > 1e-13 * (x**2).max(axis=1, initial=0)) & (var_y > 1e-13 * (y**2).max(axis=1, initial=0))
        found: Floats = np.where(varies, covariance / np.sqrt(var_x * var_y), np.nan)
    return found


def _r2(targets: Floats, predictions: Floats, weights: Weights) -> Floats:
    """1 - squared error / squared spread of the drawn targets."""
    n, centered = weights.sum(axis=1), targets - (targets.mean() if len(targets) else 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = weights @ centered**2 / n - (weights @ centered / n) ** 2
        error = weights @ (targets - predictions) ** 2 / n
        varies = spread > 1e-13 * (centered**2).max(initial=0)
        found: Floats = np.where(varies, 1 - error / spread, np.nan)
    return found


_OF_NUMBERS: Mapping[str, Callable[[Floats, Floats, Weights], Floats]] = {
    "pearson": _pearson,
    "spearman": _spearman,
    "r2": _r2,
}

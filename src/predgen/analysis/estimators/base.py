"""What an estimator of mutual information takes and gives, and which rows are refused.

All of them answer one question, I(Z; Y) in nats, through one call:

    estimate = registries.mi_estimators.get("ksg")().estimate(z, y, seed=0)
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int, Shaped

from predgen.errors import DataError

MIN_CLASS_ROWS = 5  # cross-fitting needs every class in each of five folds; KSG needs more rows than neighbours
RELATIVE_SPREAD = 1e-9  # below this share of the widest column's spread, a column holds rounding errors only
Z_95 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


@dataclass(frozen=True, slots=True)
class Estimate:
    """Mutual information found by one estimator on one set of rows, in nats.

    It may be negative: a held-out bound is, wherever the estimator learned nothing that holds on other rows. It is
    not cut off at 0, for that would give independent rows a positive mean.

    Attributes:
        nats: The estimate, mean over repeated seeds.
        std_nats: Standard deviation over the repeated seeds (folds, initial weights, jitter) on these same rows: how
            far the estimator's own chance moves it. 0 for an estimator that draws nothing that matters, None for
            one seed.
        low: Lower end of the 95 % interval for other rows of the same kind; None where the estimator gives none.
        high: Its upper end. The interval holds chance, not bias: see the tables in docs/mutual_information.md.
        rows: Number of rows.
        estimator: Registry name.
        details: Plain data that the estimator adds: settings, caps, values per seed.
    """

    nats: float
    std_nats: float | None
    low: float | None
    high: float | None
    rows: int
    estimator: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        return {**asdict(self), "details": dict(self.details)}


@dataclass(frozen=True)
class Pairs:
    """Checked rows (z, y), as estimators measure them.

    Attributes:
        z: Representations, each column standardised.
        y: Outcomes: standardised columns where continuous, class numbers 0..K-1 where discrete.
    """

    z: Float[np.ndarray, "n d"]
    y: Float[np.ndarray, "n k"] | Int[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.z)

    @property
    def is_discrete(self) -> bool:
        """Whether y holds classes."""
        return self.y.ndim == 1

    @cached_property
    def y_columns(self) -> Float[np.ndarray, "n k"]:
        """Y as columns: as it is where continuous; one-hot, each column standardised, where discrete."""
        if not self.is_discrete:
            return self.y
        return _standardised(np.eye(int(self.y.max()) + 1)[self.y])


class Estimator(ABC):
    """Estimator of I(Z; Y). Subclasses are frozen dataclasses of their settings and write `_measure`.

    Attributes:
        name: Registry name.
        min_rows: Fewest rows it takes.
    """

    name: ClassVar[str]
    min_rows: ClassVar[int]

    def estimate(self, z: Shaped[np.ndarray, "..."], y: Shaped[np.ndarray, "..."], *, seed: int = 0) -> Estimate:
        """Estimate I(Z; Y) in nats.

        Type and shape of `y` decide, together, what it is: a float matrix is continuous, an integer vector holds
        class ids. Anything in between (a float vector, an integer matrix) is refused, so that scores which happen to
        be whole numbers are never taken for classes.

        Args:
            z: Representations, float, n x d, one row per example.
            y: Outcomes: float n x k (continuous), or integers of length n (class ids, any values).
            seed: Seed of everything the estimator draws; the same seed gives the same estimate.

        Returns:
            The estimate.

        Raises:
            DataError: See `checked_pairs`.
        """
        return self._measure(checked_pairs(z, y, self.name, self.min_rows), seed)

    @abstractmethod
    def _measure(self, pairs: Pairs, seed: int) -> Estimate:
        """Estimate I(Z; Y) on checked rows."""


def checked_pairs(z: Shaped[np.ndarray, "..."], y: Shaped[np.ndarray, "..."], estimator: str, min_rows: int) -> Pairs:
    """Check rows, and bring them into the form that estimators measure.

    Standardising (mean 0, variance 1 per column) changes no mutual information, and makes all estimators
    indifferent to the columns' units.

    Args:
        z: Representations, n x d.
        y: Outcomes, float n x k or integers of length n.
        estimator: Name that messages say.
        min_rows: Fewest rows allowed.

    Returns:
        The rows.

    Raises:
        DataError: If shapes or types are not those, lengths differ, there are too few rows (in all, or of one class),
            a number is not finite, a column is constant, or there is only one class.

    Example:
        >>> checked_pairs(np.zeros((50, 1)), np.arange(50) % 2, "ksg", 20)
        Traceback (most recent call last):
        predgen.errors.DataError: estimator 'ksg' got a `z` whose column 0 is constant: ...
    """
    _check_shapes(z, y, estimator)
    if len(z) != len(y):
        raise DataError(
            f"estimator {estimator!r} got {len(z)} rows of `z` and {len(y)} of `y`; give both for the same rows, in order."
        )
    if len(z) < min_rows:
        raise DataError(
            f"estimator {estimator!r} got {len(z)} rows, but needs at least {min_rows}; take more rows,"
            " and thousands of them for a figure to trust."
        )
    _check_columns(z, "z", estimator)
    if np.issubdtype(y.dtype, np.floating):
        _check_columns(y, "y", estimator)
        return Pairs(_standardised(z), _standardised(y))
    return Pairs(_standardised(z), _class_numbers(y, estimator))


def interval(nats: float, standard_error: float) -> tuple[float, float]:
    """Return the ends of the normal 95 % interval."""
    return nats - Z_95 * standard_error, nats + Z_95 * standard_error


def combined(terms: Float[np.ndarray, "r n"], estimator: str, details: Mapping[str, Any]) -> Estimate:
    """Bring repeated seeds together.

    Args:
        terms: One term per seed and row; a seed's estimate is the mean of its terms.
        estimator: Registry name.
        details: What to report besides the seeds' estimates.

    Returns:
        Mean and standard deviation over seeds; the interval is that of the rows' mean terms.
    """
    by_seed = terms.mean(axis=1)
    nats = float(by_seed.mean())
    low, high = interval(nats, standard_error(terms.mean(axis=0)))
    std = float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None
    return Estimate(nats, std, low, high, terms.shape[1], estimator, {**details, "nats_by_seed": by_seed.tolist()})


def standard_error(row_terms: Float[np.ndarray, " n"]) -> float:
    """Return the standard error of the mean of one term per row."""
    return float(row_terms.std(ddof=1) / math.sqrt(len(row_terms)))


def _check_shapes(z: Shaped[np.ndarray, "..."], y: Shaped[np.ndarray, "..."], estimator: str) -> None:
    """Refuse what is neither of the allowed forms."""
    if z.ndim != 2 or z.shape[1] == 0 or not np.issubdtype(z.dtype, np.floating):
        raise DataError(
            f"estimator {estimator!r} got a `z` of type {z.dtype} and shape {z.shape}; give floats, rows x dimensions."
        )
    is_continuous = y.ndim == 2 and y.shape[1] > 0 and np.issubdtype(y.dtype, np.floating)
    is_discrete = y.ndim == 1 and np.issubdtype(y.dtype, np.integer)
    if not (is_continuous or is_discrete):
        raise DataError(
            f"estimator {estimator!r} got a `y` of type {y.dtype} and shape {y.shape}; give class ids as integers of"
            " shape (rows,), or numbers as floats of shape (rows, columns), such as scores[:, None]."
        )


def _check_columns(values: Shaped[np.ndarray, "n d"], what: str, estimator: str) -> None:
    """Refuse numbers that are not finite, and constant columns."""
    wrong = ~np.isfinite(values)
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        raise DataError(
            f"estimator {estimator!r} got a `{what}` with {int(wrong.sum())} numbers that are not finite, the first"
            f" {values[row, column]} in row {row}, column {column}; find what made them, or leave those rows out."
        )
    spread = values.astype(np.float64).std(axis=0)
    constant = np.flatnonzero(spread <= RELATIVE_SPREAD * spread.max())
    if len(constant):
        column = int(constant[0])
        raise DataError(
            f"estimator {estimator!r} got a `{what}` whose column {column} is constant: its spread over {len(values)}"
            f" rows is {spread[column]:.3g}, the widest column's {spread.max():.3g}; {len(constant)} of"
            f" {values.shape[1]} columns are so. Leave them out (fewer components, for PCA); they carry no information."
        )


def _class_numbers(y: Int[np.ndarray, " n"], estimator: str) -> Int[np.ndarray, " n"]:
    """Number the classes 0..K-1; refuse one class, and classes too small to be held out."""
    classes, numbers, counts = np.unique(y, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise DataError(
            f"estimator {estimator!r} got {len(y)} rows of one class, {int(classes[0])}; take rows of at least two."
        )
    if counts.min() < MIN_CLASS_ROWS:
        rarest = int(counts.argmin())
        raise DataError(
            f"estimator {estimator!r} got {int(counts[rarest])} rows of class {int(classes[rarest])}, but needs at least"
            f" {MIN_CLASS_ROWS} of each; take more rows, or leave that class out."
        )
    return numbers.astype(np.int64)


def _standardised(columns: Shaped[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Columns as float64 with mean 0 and variance 1."""
    values = columns.astype(np.float64)
    scaled: Float[np.ndarray, "n d"] = (values - values.mean(axis=0)) / values.std(axis=0)
    return scaled

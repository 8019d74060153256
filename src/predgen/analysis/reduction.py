"""PCA to k components, fitted on training rows only and applied to the rows that are measured."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from sklearn.decomposition import PCA

from predgen.errors import ConfigError, DataError

SMALLEST_SHARE = 1e-12
"""Share of the variance below which a component is rounding error: vectors are float32, whose squared error is 4e-15."""
CONSTANT_BELOW = 1e-10
"""Variance, in mean squared lengths, below which rows are equal but for what the order of sums in a batch does to float32."""


@dataclass(frozen=True, slots=True)
class PrincipalComponents:
    """Principal components of some rows. The first k of them are those of a reduction to k.

    Attributes:
        mean: Mean of the rows it was fitted on.
        axes: Orthonormal axes, by falling variance.
        shares: Share of the variance along each axis.
    """

    mean: Float[np.ndarray, " D"]
    axes: Float[np.ndarray, "K D"]
    shares: Float[np.ndarray, " K"]

    def reduced(self, vectors: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N K"]:
        """Return the components of rows."""
        found: Float[np.ndarray, "N K"] = (vectors.astype(np.float64) - self.mean) @ self.axes.T
        return found

    def restored(self, components: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N D"]:
        """Return the vectors that components stand for: a linear function of them."""
        found: Float[np.ndarray, "N D"] = components @ self.axes + self.mean
        return found


def fit_reduction(vectors: Float[np.ndarray, "N D"], components: int, where: str) -> PrincipalComponents:
    """Fit PCA on rows, exactly.

    Args:
        vectors: Representations of training rows.
        components: k, at most what the rows can give: one less than their number, and their width.
        where: What the vectors are, for messages.

    Raises:
        ConfigError: If `components` is below 1 or more than the rows can give.
        DataError: If all rows are equal.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(50, 4)) * [9, 3, 1, 0.1]
        >>> fit_reduction(rows, 2, "rows").reduced(rows).shape
        (50, 2)
    """
    rows, width = vectors.shape
    most = min(rows - 1, width)
    if not 1 <= components <= most:
        raise ConfigError(
            f"`components` is {components}, but {rows} training rows of {width} numbers ({where}) have between 1 and {most}"
            " principal components. Ask for fewer, or fit on more rows."
        )
    exact = vectors.astype(np.float64)
    if is_constant(exact):
        raise DataError(
            f"all {rows} training rows have the same representation ({where}), so it tells nothing about the answer. A causal"
            " model's first token has seen nothing of the row: use pooling 'last' or 'mean'."
        )
    solver = "arpack" if components < min(rows, width) else "full"  # both exact; arpack finds the first k alone
    pca = PCA(components, svd_solver=solver, random_state=0).fit(exact)
    shares = pca.explained_variance_ / exact.var(axis=0, ddof=1).sum()
    varying = int((shares > SMALLEST_SHARE).sum())
    if varying < components:
        raise ConfigError(
            f"`components` is {components}, but the training rows' representations ({where}) vary along {varying} axes only;"
            f" ask for {varying} or fewer."
        )
    return PrincipalComponents(pca.mean_, pca.components_, shares)


def span(vectors: Float[np.ndarray, "N D"], most: int) -> Float[np.ndarray, "N K"]:
    """Return rows of few degrees of freedom in as many columns as they have, `most` at most: an invertible linear map.

    Args:
        vectors: Rows that lie in a space of at most `most` dimensions.
        most: Upper limit of the dimensions; rows that are all equal come back with none.
    """
    exact = vectors.astype(np.float64)
    left, sizes, _ = np.linalg.svd(exact - exact.mean(axis=0), full_matrices=False)
    kept = 0 if is_constant(exact) else min(most, int((sizes**2 > SMALLEST_SHARE * (sizes**2).sum()).sum()))
    found: Float[np.ndarray, "N K"] = left[:, :kept] * sizes[:kept]
    return found


def is_constant(vectors: Float[np.ndarray, "N D"]) -> bool:
    """Whether rows are equal up to rounding."""
    return bool(vectors.var(axis=0).sum() <= CONSTANT_BELOW * np.square(vectors).sum(axis=1).mean())

"""Pairs (z, y) whose mutual information is known: what estimators are checked against."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.integrate import quad

Draw = Callable[
    [int, np.random.Generator], tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n k"] | Int[np.ndarray, " n"]]
]
"""(rows, generator) -> z, y."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A distribution of (z, y).

    Attributes:
        name: What it is.
        dim: Columns of z.
        true_nats: I(Z; Y).
        draw: Draws rows.
    """

    name: str
    dim: int
    true_nats: float
    draw: Draw


def correlated_gaussians(dim: int, nats: float) -> Channel:
    """Z and y with `dim` columns each, standard normal; column i of z is correlated with column i of y only.

    I = -0.5 dim log(1 - rho^2).

    Args:
        dim: Columns of z and of y.
        nats: Mutual information in all.

    Returns:
        The channel.

    Example:
        >>> z, y = correlated_gaussians(1, 2.0).draw(10_000, np.random.default_rng(0))
        >>> bool(abs(np.corrcoef(z[:, 0], y[:, 0])[0, 1] - np.sqrt(1 - np.exp(-4))) < 1e-3)
        True
    """
    rho = math.sqrt(-math.expm1(-2 * nats / dim))

    def draw(n_rows: int, generator: np.random.Generator) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"]]:
        z, noise = generator.normal(size=(2, n_rows, dim))
        return z, rho * z + math.sqrt(1 - rho**2) * noise

    return Channel("gaussian", dim, nats, draw)


def binary_symmetric_channel(flip: float) -> Channel:
    """Y is a fair bit, z the same bit, flipped with probability `flip`: I = log 2 - H(flip).

    Args:
        flip: Probability of an error, 0 < flip < 1.

    Returns:
        The channel; z is one column of zeros and ones.

    Example:
        >>> round(binary_symmetric_channel(0.1).true_nats, 4)
        0.3681
    """
    entropy = -flip * math.log(flip) - (1 - flip) * math.log1p(-flip)

    def draw(n_rows: int, generator: np.random.Generator) -> tuple[Float[np.ndarray, "n 1"], Int[np.ndarray, " n"]]:
        y = generator.integers(0, 2, n_rows)
        z = np.where(generator.random(n_rows) < flip, 1 - y, y)
        return z[:, None].astype(np.float64), y

    return Channel("binary symmetric", 1, math.log(2) - entropy, draw)


def gaussian_mixture(dim: int, distance: float) -> Channel:
    """Y is one of two classes of equal size; z is normal around the class's mean, with unit covariance.

    The means lie `distance` apart, in all columns alike. Along the line through them z tells everything about y, so
    that I = h(mixture) - h(normal) on that line, by numerical integration.

    Args:
        dim: Columns of z.
        distance: Distance of the means, in standard deviations.

    Returns:
        The channel.

    Example:
        >>> [round(gaussian_mixture(1, distance).true_nats, 4) for distance in (0.0, 2.0, 100.0)]
        [0.0, 0.3368, 0.6931]
    """

    def density(x: float) -> float:
        return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)

    def surprise(x: float) -> float:
        mixed = (density(x - distance / 2) + density(x + distance / 2)) / 2
        return -mixed * math.log(mixed) if mixed else 0.0

    # By symmetry half of the line is enough, and one bump of the mixture lies on it.
    entropy = 2 * quad(surprise, 0, distance / 2 + 12, points=[distance / 2], limit=200)[0]

    def draw(n_rows: int, generator: np.random.Generator) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]]:
        y = generator.integers(0, 2, n_rows)
        shift = (y[:, None] - 0.5) * distance / math.sqrt(dim)
        return generator.normal(size=(n_rows, dim)) + shift, y

    return Channel("gaussian mixture", dim, entropy - 0.5 * math.log(2 * math.pi * math.e), draw)

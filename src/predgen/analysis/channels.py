"""Pairs (z, y) whose mutual information is known: what estimators are checked against."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import entr

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


def lognormals(dim: int, nats: float) -> Channel:
    """Correlated Gaussians seen through e^x, which changes no mutual information, but bends and skews everything.

    Args:
        dim: Columns of z and of y.
        nats: Mutual information in all.

    Returns:
        The channel.

    Example:
        >>> z, y = lognormals(2, 1.0).draw(100, np.random.default_rng(0))
        >>> bool(z.min() > 0 and y.min() > 0)
        True
    """
    plain = correlated_gaussians(dim, nats)

    def draw(n_rows: int, generator: np.random.Generator) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"]]:
        z, y = plain.draw(n_rows, generator)
        return np.exp(z), np.exp(y)

    return Channel("lognormal", dim, nats, draw)


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
    that I = log 2 - E[log(1 + e^-(log odds))] on that line, by numerical integration.

    Args:
        dim: Columns of z.
        distance: Distance of the means, in standard deviations.

    Returns:
        The channel.

    Example:
        >>> [round(gaussian_mixture(1, distance).true_nats, 4) for distance in (1.0, 2.0, 100.0)]
        [0.1114, 0.3368, 0.6931]
    """

    def draw(n_rows: int, generator: np.random.Generator) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]]:
        y = generator.integers(0, 2, n_rows)
        shift = (y[:, None] - 0.5) * distance / math.sqrt(dim)
        return generator.normal(size=(n_rows, dim)) + shift, y

    x, weights = _normal_points()
    log_odds = distance * (distance / 2 + x)  # of the right class, x being the noise along the line
    return Channel("gaussian mixture", dim, math.log(2) - float(weights @ np.logaddexp(0, -log_odds)), draw)


def exclusive_or(distance: float) -> Channel:
    """Y is the exclusive or of two fair bits; column i of z is normal around bit i, at +- `distance` / 2.

    Each column alone tells nothing about y, and no line parts the classes. I = log 2 - E[H(Y|z)] by numerical
    integration: P(y = 0|z) = (1 + t_1 t_2) / 2 with t_i = tanh(distance z_i / 2).

    Args:
        distance: Distance of a column's two means, in standard deviations.

    Returns:
        The channel; z has two columns.

    Example:
        >>> [round(exclusive_or(distance).true_nats, 4) for distance in (1.0, 4.0, 100.0)]
        [0.0215, 0.5789, 0.6931]
    """

    def draw(n_rows: int, generator: np.random.Generator) -> tuple[Float[np.ndarray, "n 2"], Int[np.ndarray, " n"]]:
        bits = generator.integers(0, 2, (n_rows, 2))
        return (bits - 0.5) * distance + generator.normal(size=(n_rows, 2)), bits[:, 0] ^ bits[:, 1]

    x, weights = _normal_points()
    t = np.tanh(distance * (distance / 2 + x) / 2)
    likely = (1 + np.outer(t, t)) / 2
    uncertainty = float(weights @ (entr(likely) + entr(1 - likely)) @ weights)
    return Channel("exclusive or", 2, math.log(2) - uncertainty, draw)


def _normal_points() -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " p"]]:
    """Points and weights whose weighted sum is the mean under the standard normal distribution (Gauss-Hermite)."""
    points, weights = np.polynomial.hermite_e.hermegauss(100)
    return points, weights / math.sqrt(2 * math.pi)

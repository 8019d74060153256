"""KSG: mutual information from distances to nearest neighbours."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from scipy.special import digamma

from predgen.analysis.estimators.base import Estimate, Estimator, Pairs, interval, standard_error
from predgen.errors import DataError

JITTER = 1e-8  # in standard deviations: far below any real distance, far above rounding errors
_BELOW = 1 - 1e-12  # turns "within a distance" into "nearer than it"


@dataclass(frozen=True, slots=True)
class Ksg(Estimator):
    """Kraskov's first estimator; Ross's for classes. No bound: the error may have either sign.

    Continuous y, with e_i the distance from row i to its k-th neighbour in (z, y), by the maximum norm over all
    standardised columns, and n_z, n_y the numbers of other rows nearer than e_i in z alone and in y alone:

    I = psi(k) + psi(n) - mean_i [psi(n_z + 1) + psi(n_y + 1)]

    Classes, with e_i the distance in z to the k-th neighbour of the same class, m_i the number of other rows within
    e_i in z, that neighbour counted, and n_c the number of rows of the class of i:

    I = psi(k) + psi(n) - mean_i [psi(m_i) + psi(n_c)]

    Ties: the estimator is for densities, so every number gets a seeded uniform jitter of at most 1e-8 standard
    deviations, which changes no mutual information, and splits values that are equal. The interval is the normal
    one of the mean of the rows' terms. In many dimensions the estimate falls far below the truth, see the docs.

    Attributes:
        neighbours: k.

    Source: Kraskov, Stoegbauer, Grassberger (2004), "Estimating mutual information", eq. 8, Phys. Rev. E 69, 066138;
    Ross (2014), "Mutual information between discrete and continuous data sets", eq. 2, PLoS ONE 9(2), e87357.

    Example:
        >>> z = np.random.default_rng(0).normal(size=(500, 2))
        >>> Ksg().estimate(z, z[:, :1] + z[:, 1:]).nats > 1
        True
    """

    name: ClassVar[str] = "ksg"
    min_rows: ClassVar[int] = 20
    neighbours: int = 3

    def _measure(self, pairs: Pairs, seed: int) -> Estimate:
        smallest = int(np.bincount(pairs.y).min()) if pairs.is_discrete else len(pairs)
        if not 1 <= self.neighbours < smallest:
            raise DataError(
                f"estimator {self.name!r} looks for {self.neighbours} neighbours of a row among {smallest} (the fewest of"
                " a class, where y is discrete); set `neighbours` between 1 and one less than that, or take more rows."
            )
        generator = np.random.default_rng(seed)
        z = _jittered(pairs.z, generator)
        if pairs.is_discrete:
            terms = _class_terms(z, pairs.y, self.neighbours)
        else:
            terms = _terms(z, _jittered(pairs.y, generator), self.neighbours)
        nats = float(terms.mean())
        low, high = interval(nats, standard_error(terms))
        return Estimate(nats, 0.0, low, high, len(pairs), self.name, {"neighbours": self.neighbours, "jitter": JITTER})


def _jittered(columns: Float[np.ndarray, "n d"], generator: np.random.Generator) -> Float[np.ndarray, "n d"]:
    """Split ties."""
    return columns + JITTER * generator.uniform(-1, 1, columns.shape)


def _terms(z: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n k"], k: int) -> Float[np.ndarray, " n"]:
    """Each row's term of the mean, continuous y."""
    both = np.hstack([z, y])
    distance = cKDTree(both).query(both, k=[k + 1], p=np.inf)[0][:, 0]  # the first neighbour is the row itself
    counts = [_nearer(cKDTree(side), side, distance) for side in (z, y)]  # the row itself stands for the "+ 1"
    terms: Float[np.ndarray, " n"] = digamma(k) + digamma(len(z)) - digamma(counts[0]) - digamma(counts[1])
    return terms


def _class_terms(z: Float[np.ndarray, "n d"], classes: Int[np.ndarray, " n"], k: int) -> Float[np.ndarray, " n"]:
    """Each row's term of the mean, discrete y."""
    tree, terms = cKDTree(z), np.empty(len(z))
    for c in np.unique(classes):
        rows = np.flatnonzero(classes == c)
        distance = cKDTree(z[rows]).query(z[rows], k=[k + 1], p=np.inf)[0][:, 0]
        nearer = _nearer(tree, z[rows], distance)  # row i counts in place of its k-th neighbour: m_i
        terms[rows] = digamma(k) + digamma(len(z)) - digamma(nearer) - digamma(len(rows))
    return terms


def _nearer(
    tree: cKDTree, points: Float[np.ndarray, "n d"], distance: Float[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """Count the tree's rows that are nearer to each point than its distance, the point itself included."""
    counts: Int[np.ndarray, " n"] = tree.query_ball_point(points, distance * _BELOW, p=np.inf, return_length=True)
    return counts

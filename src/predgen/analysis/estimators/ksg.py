"""KSG: mutual information from distances to nearest neighbours."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from scipy.special import digamma

from predgen.analysis.estimators.base import Estimate, Estimator, Pairs, interval
from predgen.analysis.estimators.folds import held_out_rows
from predgen.analysis.estimators.settings import NeighbourSettings
from predgen.errors import DataError

JITTER = 1e-8  # in standard deviations: far below any real distance, far above rounding errors
PARTS, PARTITIONS, MIN_PART_ROWS = 4, 4, 50  # for the interval; many small parts would understate the variance
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
    deviations, which changes no mutual information, and splits values that are equal. In many dimensions the estimate
    falls far below the truth, see the docs.

    The interval comes from the spread over disjoint parts of the rows (the rows' own terms are correlated, and would
    make it a quarter too narrow). There is none for fewer than 200 rows, or fewer than 16 of a class.

    Attributes:
        settings: Its settings.

    Source: Kraskov, Stoegbauer, Grassberger (2004), "Estimating mutual information", eq. 8, Phys. Rev. E 69, 066138;
    Ross (2014), "Mutual information between discrete and continuous data sets", PLoS ONE 9(2), e87357; interval:
    Holmes and Nemenman (2019), "Estimation of mutual information for real-valued data with error bars and controlled
    bias", Phys. Rev. E 100, 022404.

    Example:
        >>> z = np.random.default_rng(0).normal(size=(500, 2))
        >>> Ksg().estimate(z, z[:, :1] + z[:, 1:]).nats > 1
        True
    """

    name: ClassVar[str] = "ksg"
    min_rows: ClassVar[int] = 20
    settings: NeighbourSettings = field(default_factory=NeighbourSettings)

    def _measure(self, pairs: Pairs, seed: int) -> Estimate:
        smallest = int(np.bincount(pairs.y).min()) if pairs.is_discrete else len(pairs)
        if not 1 <= self.settings.neighbours < smallest:
            raise DataError(
                f"estimator {self.name!r} looks for {self.settings.neighbours} neighbours of a row among {smallest} (the fewest of"
                " a class, where y is discrete); set `neighbours` between 1 and one less than that, or take more rows."
            )
        split = _jittered(pairs, np.random.default_rng(seed))
        nats = _information(split, self.settings.neighbours)
        low, high = None, None
        if len(pairs) >= PARTS * MIN_PART_ROWS and smallest >= PARTS * (self.settings.neighbours + 1):
            low, high = interval(nats, _standard_error(split, self.settings.neighbours, seed))
        return Estimate(
            nats, 0.0, low, high, len(pairs), self.name, {"neighbours": self.settings.neighbours, "kind": "no bound"}
        )


def _jittered(pairs: Pairs, generator: np.random.Generator) -> Pairs:
    """Split ties."""
    z = pairs.z + JITTER * generator.uniform(-1, 1, pairs.z.shape)
    return Pairs(z, pairs.y if pairs.is_discrete else pairs.y + JITTER * generator.uniform(-1, 1, pairs.y.shape))


def _information(pairs: Pairs, k: int) -> float:
    """Return the estimate on these rows."""
    return float((_class_terms if pairs.is_discrete else _terms)(pairs.z, pairs.y, k).mean())


def _standard_error(pairs: Pairs, k: int, seed: int) -> float:
    """Standard error on all rows, from the spread over disjoint parts of them: the variance goes as 1 / rows."""
    variances = []
    for partition in range(PARTITIONS):
        parts = held_out_rows(pairs, PARTS, seed + partition)
        variances.append(np.var([_information(Pairs(pairs.z[p], pairs.y[p]), k) for p in parts], ddof=1) / PARTS)
    return math.sqrt(np.mean(variances))


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

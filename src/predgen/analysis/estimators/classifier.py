"""What a linear readout finds: H(Y) minus its cross-entropy on held-out rows."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from predgen.analysis.estimators.base import Estimate, Estimator, Pairs, combined
from predgen.analysis.estimators.folds import held_out_rows
from predgen.analysis.estimators.settings import FoldedSettings

C_GRID = (0.01, 0.1, 1.0, 10.0)  # inverse strength of the L2 penalty of logistic regression, on standardised columns
ALPHA_GRID = tuple(np.logspace(-3, 4, 15))  # strength of the L2 penalty of ridge regression, likewise

_Terms = Float[np.ndarray, " n"]


@dataclass(frozen=True, slots=True)
class Classifier(Estimator):
    """The mean of log q(y|z) - log q(y) over rows that were held out when q was fitted.

    Classes: q(y|z) is a logistic regression, q(y) the class frequencies, so that the mean is H(Y) minus the held-out
    cross-entropy. A lower bound in expectation, for any q: I = H(Y) - H(Y|Z), and no cross-entropy is below H(Y|Z).
    (The frequencies come from the same rows, which puts H(Y) too low by about (K - 1) / 2n; the bound stays one.)
    It is tight where the log odds are linear in z.

    Numbers: q(y|z) is a normal distribution around a ridge regression with the covariance of its residuals, q(y) a
    normal distribution with the covariance of y. The mean is the normal entropy of y minus the held-out normal
    cross-entropy, -0.5 log(1 - R^2) for one column. **A lower bound only if y itself is normally distributed**: for
    any other y the first term is above h(Y), and the difference may exceed I. What it then is has a name, the usable
    information for linear-normal readouts (Xu et al. 2020), and says nothing about what other readouts could find.

    Every row is held out once in each of `repeats` splits into `folds`; penalties are chosen inside the other folds.

    Attributes:
        settings: Its settings.

    Source: Barber and Agakov (2003), "The IM algorithm", for the bound; Xu et al. (2020), "A theory of usable
    information under computational constraints", section 2, arXiv:2002.10689, for the normal case.

    Example:
        >>> y = np.random.default_rng(0).integers(0, 2, 100)
        >>> z = y[:, None] + np.random.default_rng(1).normal(size=(100, 1)) / 10
        >>> round(Classifier(FoldedSettings(repeats=1)).estimate(z, y).nats, 1)  # H(Y) = log 2
        0.7
    """

    name: ClassVar[str] = "classifier"
    min_rows: ClassVar[int] = 20
    settings: FoldedSettings = field(default_factory=FoldedSettings)

    def _measure(self, pairs: Pairs, seed: int) -> Estimate:
        split_terms: Callable[..., _Terms] = _class_terms if pairs.is_discrete else _normal_terms
        splits = np.random.SeedSequence(seed).generate_state(self.settings.repeats)
        terms = np.stack([self._held_out_terms(pairs, split_terms, int(s)) for s in splits])
        kind = "lower bound" if pairs.is_discrete else "lower bound only if y is normally distributed"
        return combined(terms, self.name, {"folds": self.settings.folds, "kind": kind})

    def _held_out_terms(self, pairs: Pairs, split_terms: Callable[..., _Terms], seed: int) -> _Terms:
        """Each row's term, from the split in which it was held out."""
        terms = np.empty(len(pairs))
        for held in held_out_rows(pairs, self.settings.folds, seed):
            rest = np.setdiff1d(np.arange(len(pairs)), held)
            terms[held] = split_terms(pairs.z[rest], pairs.y[rest], pairs.z[held], pairs.y[held])
        if pairs.is_discrete:
            terms -= np.log(np.bincount(pairs.y) / len(pairs))[pairs.y]
        return terms


def _class_terms(
    z: Float[np.ndarray, "m d"],
    y: Int[np.ndarray, " m"],
    z_held: Float[np.ndarray, "h d"],
    y_held: Int[np.ndarray, " h"],
) -> Float[np.ndarray, " h"]:
    """Log q(y|z) of the held-out rows."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    regression = LogisticRegression(max_iter=1000)
    search = GridSearchCV(regression, {"C": list(C_GRID)}, scoring="neg_log_loss", cv=3).fit(z, y)
    log_probabilities: Any = search.predict_log_proba(z_held)
    chosen: Float[np.ndarray, " h"] = log_probabilities[np.arange(len(y_held)), y_held]
    return chosen


def _normal_terms(
    z: Float[np.ndarray, "m d"],
    y: Float[np.ndarray, "m k"],
    z_held: Float[np.ndarray, "h d"],
    y_held: Float[np.ndarray, "h k"],
) -> Float[np.ndarray, " h"]:
    """Log q(y|z) - log q(y) of the held-out rows."""
    from sklearn.linear_model import RidgeCV

    ridge = RidgeCV(alphas=ALPHA_GRID).fit(z, y)
    fitted, predicted = (ridge.predict(side).reshape(len(side), -1) for side in (z, z_held))
    given = normal_log_density(y_held - predicted, y - fitted)
    alone = normal_log_density(y_held - y.mean(axis=0), y - y.mean(axis=0))
    gain: Float[np.ndarray, " h"] = given - alone
    return gain


def normal_log_density(
    differences: Float[np.ndarray, "h k"], sample: Float[np.ndarray, "m k"]
) -> Float[np.ndarray, " h"]:
    """Log density of differences from the mean, under the normal distribution with the sample's second moments."""
    covariance = sample.T @ sample / len(sample)
    squared = np.einsum("hk,kh->h", differences, np.linalg.solve(covariance, differences.T))
    density: Float[np.ndarray, " h"] = -0.5 * (
        squared + np.linalg.slogdet(covariance)[1] + sample.shape[1] * math.log(2 * math.pi)
    )
    return density

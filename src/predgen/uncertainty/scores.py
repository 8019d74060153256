"""Conformal scores: how strange an answer is for a row, by what the model says of it. The higher, the stranger.

Labels (N rows, K labels; scores N x K):
    lac       1 - P(label). Sadinle, Lei and Wasserman (2019), "Least Ambiguous Set-Valued Classifiers": the smallest sets.
    aps       mass of the labels that are more probable. Romano, Sesia and Candes (2020), "Classification with Valid and
              Adaptive Coverage", arXiv:2006.02544, with 1 in the place of their random number: the same row always has the
              same set, and the most probable label is always in it.
    ordinal   mass of the run of neighbouring labels that grows from the most probable one, to the more probable side, before
              it reaches the label. Lu et al. (2022), "Improving Trustworthiness of AI Disease Severity Rating in Medical
              Imaging with Ordinal Conformal Prediction Sets", arXiv:2207.02238. Sets have no gaps.
Numbers (scores N):
    cqr L     max(q_low - y, y - q_high), the quantiles between which the model puts a share L. Romano, Patterson and Candes
              (2019), "Conformalized Quantile Regression", arXiv:1905.03222. Kept for each L of `BASES`: any is valid for any
              coverage, and the nearest is used.
    cps       (y - prediction) / sigma, sigma the spread of the row's distribution. Vovk et al. (2017), "Nonparametric
              predictive distributions based on conformal prediction".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from predgen.core import Prediction
from predgen.metrics.weighted import Floats

BASES = (0.5, 0.8, 0.9, 0.95, 0.99)
"""Shares between whose quantiles `cqr` starts."""

_LEAST_SPREAD = 0.01  # of the range of the numbers: sigma of a row that puts all on one number


def lac(probabilities: Floats) -> Floats:
    """1 - P(label); see the module.

    Example:
        >>> lac(np.array([[0.5, 0.25, 0.25]])).tolist()
        [[0.5, 0.75, 0.75]]
    """
    return 1 - probabilities


def aps(probabilities: Floats) -> Floats:
    """Mass of the labels that are more probable; of equal ones, those that stand before; see the module.

    Example:
        >>> aps(np.array([[0.25, 0.5, 0.25]])).tolist()
        [[0.5, 0.0, 0.75]]
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    sums = np.take_along_axis(probabilities, order, axis=1).cumsum(axis=1)
    found = np.zeros_like(probabilities)
    np.put_along_axis(found, order[:, 1:], sums[:, :-1], axis=1)
    return found


def ordinal(probabilities: Floats) -> Floats:
    """Mass of the run of neighbours that has grown from the most probable label before it reaches this one; see the module.

    Example:
        >>> ordinal(np.array([[0.5, 0.125, 0.375]])).tolist()
        [[0.0, 0.5, 0.625]]
    """
    n_rows, n_labels = probabilities.shape
    rows = np.arange(n_rows)
    # A border of -1 on either side: there is nothing to grow into. Place k of the row is place k + 1 of the bordered one.
    bordered = np.pad(probabilities, ((0, 0), (1, 1)), constant_values=-1.0)
    low = high = probabilities.argmax(axis=1) + 1
    mass = bordered[rows, low]
    found = np.zeros_like(probabilities)
    for _ in range(n_labels - 1):
        goes_up = bordered[rows, high + 1] > bordered[rows, low - 1]
        added = np.where(goes_up, high + 1, low - 1)
        found[rows, added - 1] = mass
        mass = mass + bordered[rows, added]
        low, high = np.minimum(low, added), np.maximum(high, added)
    return found


OF_LABELS: Mapping[str, Callable[[Floats], Floats]] = {"lac": lac, "aps": aps, "ordinal": ordinal}
OF_NUMBERS = ("cqr", "cps")


def cqr_name(base: float) -> str:
    """What a `cqr` score is called where scores are kept."""
    return f"cqr {base:g}"


@dataclass(frozen=True, slots=True)
class Spread:
    """What is read off predictions of numbers; N rows, B shares of `BASES`.

    Attributes:
        point: Predicted numbers, N.
        sigma: Standard deviation of each row's distribution, never 0, N; 1 without distributions.
        ends: Quantiles between which the model puts a share, N x B x 2; None without distributions.
    """

    point: Floats
    sigma: Floats
    ends: Floats | None

    @classmethod
    def of(cls, predictions: Sequence[Prediction]) -> "Spread":
        """Read predictions, all with a distribution or all without."""
        point = np.array([p.value for p in predictions], dtype=np.float64)
        found = [p.distribution for p in predictions if p.distribution is not None]
        if len(found) < len(predictions) or not found:
            return cls(point, np.ones(len(point)), None)
        levels = [((1 - base) / 2, (1 + base) / 2) for base in BASES]
        ends = np.array([[[d.quantile(low), d.quantile(high)] for low, high in levels] for d in found])
        spans = np.array([d.support[-1] - d.support[0] for d in found])
        sigma = np.array([d.std() for d in found]) + _LEAST_SPREAD * spans
        return cls(point, np.where(sigma > 0, sigma, 1.0), ends)

    def scores(self, targets: Floats) -> dict[str, Floats]:
        """Return the scores of true numbers, by name."""
        found = {"cps": (targets - self.point) / self.sigma}
        if self.ends is not None:
            low, high = self.ends[:, :, 0], self.ends[:, :, 1]
            strange = np.maximum(low - targets[:, None], targets[:, None] - high)
            found |= {cqr_name(base): strange[:, i] for i, base in enumerate(BASES)}
        return found

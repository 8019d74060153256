"""When to say nothing: rows are answered from the most confident one on, down to a threshold."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from predgen.errors import ConfigError
from predgen.metrics.probabilities import confident_first, error_by_coverage
from predgen.metrics.weighted import Floats
from predgen.uncertainty.record import CalibrationRecord

RISK = 0.1
"""Chance, over calibration rows, that a threshold lets more errors through than it promises."""

_STEPS = 40  # numbers of answered rows that are tried; more would stop at chance runs of errors more often
N_POINTS = 20
"""Points of a curve of error against coverage."""

_Right = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ConfidenceThreshold:
    """What is answered, and what is known of it.

    Attributes:
        confidence: Least P(predicted label) of a row that is answered.
        max_error: Share of wrong answers among answered rows that is promised; None: nothing is.
        answered: Share of the calibration rows that are answered.
        error: Share of these that are wrong; None without answered ones.
    """

    confidence: float
    max_error: float | None
    answered: float
    error: float | None


def threshold_for_error(record: CalibrationRecord, max_error: float, risk: float = RISK) -> ConfidenceThreshold:
    """Return the lowest threshold for which calibration rows prove that few enough answers are wrong.

    With a chance of at least 1 - `risk` over calibration rows, the share of wrong answers among new answered rows is at most
    `max_error`: Learn then Test (Angelopoulos et al. 2021, arXiv:2110.01052) with an exact binomial test in a fixed sequence.

    Raises:
        ConfigError: If the share is none, or no threshold can be proved.
    """
    if not 0 < max_error < 1:
        raise ConfigError(f"`max_error` is {max_error}, but must lie between 0 and 1, such as 0.05.")
    confidence, right = confident_first(np.array(record.confidence), np.array(record.right, dtype=bool))
    # Of the k + 1 most confident rows the last one gives the threshold, and those above it are independent draws from what is
    # above: the wrong ones among them are binomial. Tried are growing k, the least being the one at which no error at all
    # would prove something. Each test may err with chance `risk`, but the sequence stops at the first that fails, so that
    # only the first threshold that is too low matters, where error grows as the threshold falls.
    wrong = (~right).cumsum()
    least = math.inf
    for k in _numbers_to_try(len(right), max_error, risk):
        above = len(right) if k == len(right) else int(np.searchsorted(-confidence, -confidence[k]))
        if above < _least_to_prove(max_error, risk):  # the others are as confident as the row that gives the threshold
            continue
        if stats.binom.cdf(wrong[above - 1], above, max_error) > risk:
            break
        least = 0.0 if k == len(right) else math.nextafter(float(confidence[k]), 2.0)
    if math.isinf(least):
        raise ConfigError(
            f"`max_error` {max_error} cannot be promised by the {record.rows} calibration rows: {_best(wrong, risk)}. Ask for"
            " less, give `min_confidence` instead, which promises nothing, or calibrate on more rows."
        )
    return _described(least, max_error, confidence, right)


def threshold_of(record: CalibrationRecord | None, min_confidence: float) -> ConfidenceThreshold:
    """Return a threshold that somebody chose, with what calibration rows say of it, where there are any.

    Raises:
        ConfigError: If it is no probability.
    """
    if not 0 <= min_confidence <= 1:
        raise ConfigError(f"`min_confidence` is {min_confidence}, but must lie in 0..1, such as 0.8.")
    if record is None:
        return ConfidenceThreshold(min_confidence, None, math.nan, None)
    return _described(min_confidence, None, np.array(record.confidence), np.array(record.right, dtype=bool))


def _described(least: float, max_error: float | None, confidence: Floats, right: _Right) -> ConfidenceThreshold:
    """A threshold with the figures of the calibration rows."""
    answered = confidence >= least
    error = float(1 - right[answered].mean()) if answered.any() else None
    return ConfidenceThreshold(least, max_error, float(answered.mean()), error)


def _numbers_to_try(n_rows: int, max_error: float, risk: float) -> list[int]:
    """Numbers of answered rows, ascending, at most `n_rows`."""
    least = _least_to_prove(max_error, risk)
    if least > n_rows:
        return []
    return sorted({int(k) for k in np.geomspace(least, n_rows, _STEPS).round()})


def _least_to_prove(max_error: float, risk: float) -> int:
    """How many rows prove something where none of them is wrong."""
    return math.ceil(math.log(risk) / math.log1p(-max_error))


def _best(wrong: npt.NDArray[np.int64], risk: float) -> str:
    """The least error that some threshold proves, in words."""
    k = np.arange(1, len(wrong) + 1)
    bound = float(stats.beta.ppf(1 - risk, wrong + 1, k - wrong + (k == wrong)).min())
    return f"the least that a threshold could is {math.ceil(1000 * bound) / 1000:g}"


def curve(confidence: Floats, right: _Right, shares: Sequence[float] | None = None) -> list[dict[str, float]]:
    """Return points of error against the share of answered rows, for drawing and for JSON.

    Args:
        confidence: P(predicted label) of each row.
        right: Whether it is the true one.
        shares: Shares to read it at; None: `N_POINTS` even ones.
    """
    error, ordered = error_by_coverage(confidence, right), -np.sort(-confidence)
    n_rows = len(error)
    asked = [(i + 1) / N_POINTS for i in range(N_POINTS)] if shares is None else shares
    places = [max(1, math.ceil(share * n_rows - 1e-9)) - 1 for share in asked] if n_rows else []
    return [
        {"answered": share, "error": float(error[place]), "min_confidence": float(ordered[place])}
        for share, place in zip(asked, places, strict=False)
    ]

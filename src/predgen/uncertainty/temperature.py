"""Temperature: one number by which log-probabilities are divided, P_T(a) ~ P(a)^(1/T), fitted by log loss.

T > 1 takes back confidence, T < 1 adds some; the order of answers stays. Source: Guo et al. (2017), "On Calibration of Modern
Neural Networks", section 4.2, arXiv:1706.04599.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from predgen.metrics.weighted import Floats

LOWEST, HIGHEST = 0.05, 20.0
"""Temperatures that are tried: a model that is always right would ask for one of 0."""

_FLOOR = float(np.log(np.finfo(np.float64).tiny))  # what has underflowed was at most as probable as this


def tempered(probabilities: Floats, temperature: float, counts: Floats | None = None) -> Floats:
    """Return probabilities at a temperature; to the bit the same at 1.

    Args:
        probabilities: They sum to 1 over the last axis; a 0 stays 0.
        temperature: Above 0.
        counts: How many equally probable answers each of them stands for; None: one each.

    Example:
        >>> tempered(np.array([0.8, 0.2]), 2.0).round(3).tolist()
        [0.667, 0.333]
    """
    if temperature == 1:
        return probabilities
    each = _logs(probabilities) if counts is None else _logs(probabilities) - np.log(counts)
    raised = each / temperature
    weights = np.exp(raised - raised.max(axis=-1, keepdims=True))
    weights = np.where(probabilities > 0, weights if counts is None else counts * weights, 0.0)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True), dtype=np.float64)


def _logs(probabilities: Floats) -> Floats:
    """Logarithms; that of 0 is low and finite."""
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(probabilities), _FLOOR)


def log_loss_at(temperature: float, rows: Sequence[Floats], right: Sequence[int]) -> float:
    """Mean -log P_T(right answer), in nats.

    Args:
        temperature: T.
        rows: Probabilities of each row's answers; rows may differ in their number.
        right: Place of each row's right answer.
    """
    losses = [-_logs(tempered(row, temperature)[place : place + 1])[0] for row, place in zip(rows, right, strict=True)]
    return math.fsum(losses) / len(losses)


def fit_temperature(rows: Sequence[Floats], right: Sequence[int]) -> float:
    """Return the temperature with the least log loss, within `LOWEST` and `HIGHEST`; 1 where none is better than that.

    The loss is convex in 1/T (a log-sum-exp minus a line), so that it falls and then rises in log T: one search finds the
    lowest point.

    Args:
        rows: Probabilities of each row's answers.
        right: Place of each row's right answer.
    """
    parts = _by_width(rows, right)

    def loss(log_temperature: float) -> float:
        inverse = math.exp(-log_temperature)
        total = 0.0
        for logs, places in parts:
            raised = logs * inverse
            top = raised.max(axis=1, keepdims=True)
            total += float((top[:, 0] + np.log(np.exp(raised - top).sum(axis=1))).sum())
            total -= float(raised[np.arange(len(places)), places].sum())
        return total

    found = minimize_scalar(
        loss, bounds=(math.log(LOWEST), math.log(HIGHEST)), method="bounded", options={"xatol": 1e-6}
    )
    best = float(found.x)
    return math.exp(best) if loss(best) < loss(0.0) else 1.0


def _by_width(rows: Sequence[Floats], right: Sequence[int]) -> list[tuple[Floats, npt.NDArray[np.int64]]]:
    """Log-probabilities as matrices of rows with as many answers, with the right ones' places; impossible ones are -inf."""
    widths: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        widths.setdefault(len(row), []).append(index)
    found = []
    for indices in widths.values():
        table = np.stack([rows[i] for i in indices])
        places = np.array([right[i] for i in indices], dtype=np.int64)
        logs = np.where(table > 0, _logs(table), -np.inf)
        lines = np.arange(len(places))
        logs[lines, places] = np.maximum(logs[lines, places], _FLOOR)  # what came was possible
        found.append((logs, places))
    return found

"""Answers as predictions: text, points and distributions."""

import numpy as np
import numpy.typing as npt

from predgen.codecs.decimals import from_grid
from predgen.codecs.number import NumberCodec
from predgen.core import Prediction
from predgen.distribution import Distribution
from predgen.engine.expansion import Expansion


def answer_text(value: str | float) -> str:
    """A decoded value as text."""
    return value if isinstance(value, str) else repr(value)


def point(numbers: Distribution, how: str) -> Prediction:
    """One number for a distribution: its "mean", its "median", or its most probable one ("argmax")."""
    if how == "mean":
        return Prediction(numbers.mean())
    if how == "median":
        return Prediction(numbers.median())
    return Prediction(numbers.mode(), answer=answer_text(numbers.mode()))


def distribution_of(codec: NumberCodec, probabilities: npt.NDArray[np.float64], nodes: int) -> Distribution:
    """Distribution over a whole grid."""
    return Distribution(codec.grid, probabilities, nodes=nodes)


def distribution_of_expansion(codec: NumberCodec, row: Expansion) -> Distribution:
    """Distribution over the numbers expanded; what is left of the mass stands in the middle of its prefix's range."""
    masses = {codec.space.low + index: mass for index, mass in row.answers.items()}
    unexpanded, error = 0.0, 0.0
    for prefix in row.pending:
        lowest, highest = codec.space.range_of(prefix.state)
        middle = (lowest + highest) // 2
        masses[middle] = masses.get(middle, 0.0) + prefix.mass
        unexpanded += prefix.mass
        error += prefix.mass * max(highest - middle, middle - lowest) * codec.step
    keys = sorted(masses)
    support = np.array([from_grid(k, codec.decimals) for k in keys])
    probabilities = np.array([masses[k] for k in keys])
    return Distribution(support, probabilities / probabilities.sum(), unexpanded, error, row.nodes)

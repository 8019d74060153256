"""Answers as predictions: text, points and distributions, back on the raw scale of the targets."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from predgen.codecs.decimals import from_grid
from predgen.codecs.number import NumberCodec
from predgen.core import Prediction
from predgen.distribution import Distribution
from predgen.engine.expansion import Expansion
from predgen.target_scale import TargetScale

_HALVINGS = 64  # of an interval of floats with 53 significant bits
CLIPPED = "clipped"
"""Flag of a prediction whose head asked for a number outside the range; it stands at the range's end."""


def answer_text(value: str | float) -> str:
    """A decoded value as text."""
    return value if isinstance(value, str) else repr(value)


def written_answer(value: str | float, scale: TargetScale, flags: frozenset[str] = frozenset()) -> Prediction:
    """What a decoded answer states."""
    raw = value if isinstance(value, str) else scale.raw(value)
    return Prediction(raw, answer=answer_text(value), flags=flags)


def point(numbers: Distribution, how: str, codec: NumberCodec, scale: TargetScale) -> Prediction:
    """One number for a distribution: its "mean", its "median", or its most probable one ("argmax")."""
    if how == "mean":
        return Prediction(numbers.mean())
    if how == "median":
        return Prediction(numbers.median())
    return Prediction(numbers.mode(), answer=answer_text(codec.nearest(scale.written(numbers.mode()))))


def distribution_of(
    codec: NumberCodec, probabilities: npt.NDArray[np.float64], nodes: int, scale: TargetScale
) -> Distribution:
    """Distribution over a whole grid."""
    return _distribution(scale.raws(codec.grid), probabilities, nodes=nodes)


def distribution_of_expansion(codec: NumberCodec, row: Expansion, scale: TargetScale) -> Distribution:
    """Distribution over the numbers expanded; what is left of the mass stands in the middle of its prefix's range."""
    masses = {codec.space.low + index: mass for index, mass in row.answers.items()}
    unexpanded, error = 0.0, 0.0
    for prefix in row.pending:
        lowest, highest = codec.space.range_of(prefix.state)
        middle = (lowest + highest) // 2
        masses[middle] = masses.get(middle, 0.0) + prefix.mass
        unexpanded += prefix.mass
        low, mid, high = (scale.raw(from_grid(k, codec.decimals)) for k in (lowest, middle, highest))
        error += prefix.mass * max(high - mid, mid - low)
    keys = sorted(masses)
    support = scale.raws(np.array([from_grid(k, codec.decimals) for k in keys]))
    probabilities = np.array([masses[k] for k in keys])
    return _distribution(support, probabilities / probabilities.sum(), unexpanded, error, row.nodes)


def directed(stated: Prediction, standardised: float, scale: TargetScale) -> Prediction:
    """A prediction with a head's number in the place of the written one; the distribution moves with it."""
    value, is_clipped = scale.of_head(standardised)
    moved = None if stated.distribution is None else shifted(stated.distribution, value, scale)
    return replace(
        stated, value=value, distribution=moved, flags=stated.flags | {CLIPPED} if is_clipped else stated.flags
    )


def shifted(numbers: Distribution, mean: float, scale: TargetScale) -> Distribution:
    """The same probabilities on numbers that have all been moved by one step, so that their mean is `mean`.

    They move on the scale that is written and stop at the ends of the range: prices that are written as logarithms move
    by a factor, and none becomes negative. What stops weakens the step's effect, so that the step is searched for: the
    mean rises with it, from the least to the greatest number of the range.

    Args:
        numbers: The writer's distribution.
        mean: A number of the range.
        scale: Says what is written, and where the range ends.
    """
    written = scale.writtens(numbers.support)
    aim = scale.written(mean)
    below, above = aim - float(written.max()), aim - float(written.min())

    def mean_after(step: float) -> float:
        return float(numbers.probabilities @ scale.raws(written + step))

    step = aim - scale.written(numbers.mean())  # exact where numbers are written as they are and none is stopped
    for _ in range(_HALVINGS):
        reached = mean_after(step)
        if reached == mean:
            break
        below, above = (step, above) if reached < mean else (below, step)
        step = (below + above) / 2
    moved = _distribution(scale.raws(written + step), numbers.probabilities, numbers.unexpanded, 0.0, numbers.nodes)
    return replace(moved, shift=mean - numbers.mean())


def _distribution(
    support: npt.NDArray[np.float64],
    probabilities: npt.NDArray[np.float64],
    unexpanded: float = 0.0,
    mean_error: float = 0.0,
    nodes: int = 0,
) -> Distribution:
    """A distribution whose numbers ascend: those that meet at an end of the range are one."""
    support = np.maximum.accumulate(support)  # interpolation may fall by a rounding error
    distinct, place = np.unique(support, return_inverse=True)
    if len(distinct) < len(support):
        support, probabilities = distinct, np.bincount(place, weights=probabilities).astype(np.float64)
    return Distribution(support, probabilities, unexpanded, mean_error, nodes)

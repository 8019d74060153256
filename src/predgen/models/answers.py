"""Answers as predictions: text, points and distributions, back on the raw scale of the targets."""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from predgen.codecs.number import NumberCodec
from predgen.codecs.number_grid import NumberGrid
from predgen.core import Prediction
from predgen.decodings import DecodingRule
from predgen.distribution import Distribution
from predgen.engine.expansion import Expansion
from predgen.target_scale import TargetScale
from predgen.uncertainty.temperature import tempered

_HALVINGS = 64  # of an interval of floats with 53 significant bits
CLIPPED = "clipped"
"""Flag of a prediction whose head asked for a number outside the range; it stands at the range's end."""

_STEP = 1e-3  # most mass at one number that stands for others
PARTLY_EXPANDED = "partly_expanded"
"""Flag of a prediction whose distribution was cut off by the budget of nodes (`Distribution.is_cut`)."""


def answer_text(value: str | float) -> str:
    """A decoded value as text."""
    return value if isinstance(value, str) else repr(value)


def written_answer(value: str | float, scale: TargetScale, flags: frozenset[str] = frozenset()) -> Prediction:
    """What a decoded answer states."""
    raw = value if isinstance(value, str) else scale.raw(value)
    return Prediction(raw, answer=answer_text(value), flags=flags)


def point(numbers: Distribution, rule: DecodingRule, codec: NumberCodec, scale: TargetScale) -> Prediction:
    """One number for a distribution, by a decoding; where it is one of the answers, with its text."""
    assert rule.point is not None, "what reads numbers says which one stands for them"
    value = rule.point(numbers)
    return Prediction(
        value, answer=answer_text(codec.nearest(scale.written(value))) if rule.reads == "answers" else None
    )


def with_numbers(stated: Prediction, numbers: Distribution, *, gives: bool) -> Prediction:
    """A prediction read off, or made beside, an expanded distribution; with `gives`, the distribution goes with it."""
    flags = stated.flags | {PARTLY_EXPANDED} if numbers.is_cut else stated.flags
    return replace(stated, distribution=numbers if gives else None, flags=flags)


def distribution_of(
    codec: NumberCodec,
    probabilities: npt.NDArray[np.float64],
    nodes: int,
    scale: TargetScale,
    temperature: float = 1.0,
) -> Distribution:
    """Distribution over a whole grid."""
    told = tempered(probabilities, temperature)
    return _distinct(Distribution(scale.raws(codec.grid), told, nodes=nodes, temperature=temperature))


def distribution_of_expansion(
    codec: NumberCodec, row: Expansion, scale: TargetScale, temperature: float = 1.0
) -> Distribution:
    """Distribution over the numbers expanded; what is left of the mass is spread over its prefixes' intervals.

    A temperature takes the numbers of an interval as equally probable: what is known of them is their sum alone.
    """
    space = codec.space
    known = np.array(list(row.answers), dtype=np.int64) + space.low
    spread = _Spread.of(space, row, scale)
    places = np.concatenate([known, spread.places])
    order = places.argsort()
    masses = np.concatenate([np.array(list(row.answers.values()), dtype=np.float64), spread.masses])[order]
    ends = [np.concatenate([known, part])[order] for part in (spread.lowest, spread.highest)]
    is_spread = np.repeat([False, True], [len(known), len(spread.places)])[order]
    left, error = math.fsum(prefix.mass for prefix in row.pending), spread.mean_error
    told = masses / masses.sum()
    if temperature != 1:
        counts = np.concatenate([np.ones(len(known)), spread.counts])[order]
        told = tempered(told, temperature, counts)
        before, left = left, float(told[is_spread].sum())
        error *= left / before if before else 0.0
    lowest, highest = (scale.raws(space.numbers(part)) if row.pending else None for part in ends)
    numbers = scale.raws(space.numbers(places[order]))
    found = Distribution(numbers, told, left, error, row.nodes, 0.0, row.is_cut, lowest, highest, temperature)
    return _distinct(found)


def read_off(
    told: Prediction, rule: DecodingRule, codec: NumberCodec, scale: TargetScale, *, gives: bool
) -> Prediction:
    """Another point of the distribution that a prediction carries; with `gives`, the distribution stays with it."""
    assert told.distribution is not None, "it was asked for"
    read = point(told.distribution, rule, codec, scale)
    return replace(told, value=read.value, answer=read.answer, distribution=told.distribution if gives else None)


@dataclass(frozen=True, slots=True)
class _Spread:
    """The mass of a row's unexpanded prefixes, spread evenly over the numbers that begin so, in steps of at most 0.001.

    Attributes:
        places: k of the numbers at which a step stands: the middles of equal parts of an interval.
        masses: Probability of each step.
        lowest: Least k of the interval that each step belongs to.
        highest: Greatest k of it.
        counts: How many numbers each step stands for, in the mean over its interval.
        mean_error: How far the mean can be from the exact one.
    """

    places: npt.NDArray[np.int64]
    masses: npt.NDArray[np.float64]
    lowest: npt.NDArray[np.int64]
    highest: npt.NDArray[np.int64]
    counts: npt.NDArray[np.float64]
    mean_error: float

    @classmethod
    def of(cls, space: NumberGrid, row: Expansion, scale: TargetScale) -> "_Spread":
        """Spread what a row has left unexpanded."""
        ends = np.array([space.range_of(prefix.state) for prefix in row.pending], dtype=np.int64).reshape(-1, 2)
        mass = np.array([prefix.mass for prefix in row.pending], dtype=np.float64)
        counts = ends[:, 1] - ends[:, 0] + 1
        steps = np.clip(np.ceil(mass / _STEP), 1, counts).astype(np.int64)
        owner = np.repeat(np.arange(len(steps)), steps)
        rank = np.arange(len(owner)) - (steps.cumsum() - steps)[owner]
        # The middle of the rank-th of equal parts; where there are as many steps as numbers, the rank-th number.
        places = ends[owner, 0] + ((2 * rank + 1) * counts[owner] - 1) // (2 * steps[owner])
        means = np.bincount(owner, scale.raws(space.numbers(places)), len(steps)) / steps
        low, high = scale.raws(space.numbers(ends[:, 0])), scale.raws(space.numbers(ends[:, 1]))
        error = float(mass @ np.maximum(high - means, means - low))
        return cls(places, (mass / steps)[owner], ends[owner, 0], ends[owner, 1], (counts / steps)[owner], error)


def directed(stated: Prediction, standardised: float, scale: TargetScale) -> Prediction:
    """A prediction with a head's number in the place of the written one; the distribution moves with it."""
    return _placed(stated, *scale.of_head(standardised), scale)


def corrected(
    stated: Prediction,
    probabilities: npt.NDArray[np.float64],
    correction: float,
    codec: NumberCodec,
    scale: TargetScale,
) -> Prediction:
    """A prediction at the mean of what is written plus a correction, in standard deviations; without one, at that mean."""
    # In float64 from end to end: the director's own sum is float32, which holds the correction but not the mean.
    mean = float(probabilities @ codec.grid)
    return _placed(stated, *scale.of_written(mean + scale.std * correction), scale)


def _placed(stated: Prediction, value: float, is_clipped: bool, scale: TargetScale) -> Prediction:
    """A prediction at another number, its distribution moved there."""
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
    ends = (e if e is None else scale.raws(scale.writtens(e) + step) for e in (numbers.lowest, numbers.highest))
    lowest, highest = ends
    moved = replace(numbers, support=scale.raws(written + step), lowest=lowest, highest=highest, mean_error=0.0)
    return _distinct(replace(moved, shift=mean - numbers.mean(), written=numbers))


def at_temperature(written: Distribution, temperature: float) -> Distribution:
    """What is written at temperature 1, at another one; of whole grids, where each number has its own probability."""
    return replace(written, probabilities=tempered(written.probabilities, temperature), temperature=temperature)


def _distinct(numbers: Distribution) -> Distribution:
    """A distribution whose numbers ascend: those that meet at an end of the range are one."""
    ascending = np.maximum.accumulate(numbers.support)  # interpolation may fall by a rounding error
    support, first, place = np.unique(ascending, return_index=True, return_inverse=True)
    if len(support) == len(ascending):
        return replace(numbers, support=support)
    probabilities = np.bincount(place, weights=numbers.probabilities).astype(np.float64)
    lowest = None if numbers.lowest is None else np.minimum.reduceat(numbers.lowest, first)
    highest = None if numbers.highest is None else np.maximum.reduceat(numbers.highest, first)
    return replace(numbers, support=support, probabilities=probabilities, lowest=lowest, highest=highest)

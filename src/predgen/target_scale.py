"""Raw numbers <-> what is written <-> what heads learn: transform, range, mean and standard deviation in one place.

raw y  --transform-->  written t(y)  --(t - mean) / std-->  standardised

Everything is computed in float64. Only standardised numbers, which lie around 0, become float32 tensors: a float32 has
7 digits, which an offset of 1.7e9 would use up.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from predgen.config import TARGET_TRANSFORMS
from predgen.errors import ConfigError, DataError

Numbers = npt.NDArray[np.float64]

MAX_KNOTS = 1000
"""Most training targets that the transform "quantile" keeps; between them it is linear."""
_MAX_LOG = 700.0  # e^709.78 is the greatest float


@dataclass(frozen=True)
class TargetScale:
    """How a task's numbers become what a model writes and learns, and how they come back.

    Attributes:
        mean: Mean of the training targets as written.
        std: Their standard deviation, > 0.
        transform: "none"; "log", the natural logarithm; "quantile", the normal score of a number's rank among the training
            targets, linear between `knots`.
        low: Least number that may be predicted; None: no bound.
        high: Greatest number that may be predicted; None: no bound.
        knots: Raw numbers with their scores, both ascending ("quantile" only). No number beyond them is predicted.

    Raises:
        ConfigError: If something does not fit together, as in a damaged saved model.

    Example:
        >>> scale = TargetScale.of([1.7e9, 1.7e9 + 10.0, 1.7e9 + 20.0])
        >>> scale.standardised(1.7e9 + 20.0), scale.raw(scale.mean)
        (1.224744871391589, 1700000010.0)
    """

    mean: float = 0.0
    std: float = 1.0
    transform: str = "none"
    low: float | None = None
    high: float | None = None
    knots: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if self.transform not in TARGET_TRANSFORMS:
            raise ConfigError(f"`target_transform` is {self.transform!r}; allowed: {', '.join(TARGET_TRANSFORMS)}.")
        is_rising = all(a[0] < b[0] and a[1] < b[1] for a, b in zip(self.knots, self.knots[1:], strict=False))
        numbers = [self.mean, self.std, *(end for end in (self.low, self.high) if end is not None)]
        numbers += [number for knot in self.knots for number in knot]
        has_knots = len(self.knots) > 1 if self.transform == "quantile" else not self.knots
        if not (all(map(math.isfinite, numbers)) and self.std > 0 and is_rising and has_knots):
            raise ConfigError(
                f"the scale of the targets is damaged (mean {self.mean}, std {self.std}, {len(self.knots)} knots,"
                f" transform {self.transform!r}). Save the model again, or copy it anew."
            )

    @classmethod
    def of(
        cls,
        targets: Sequence[float],
        transform: str = "none",
        minimum: float | None = None,
        maximum: float | None = None,
        weights: Sequence[float] | None = None,
    ) -> "TargetScale":
        """Fit a scale to training targets; a row of weight 2 counts like two rows.

        Where all targets are 0 or more, no prediction is below 0; where all are 0 or less, none is above.

        Args:
            targets: Finite numbers, at least one.
            transform: See the class.
            minimum: Declared lowest number, at most the least target; None: not declared.
            maximum: Declared highest number, at least the greatest target; None: not declared.
            weights: Weight of each target in mean and standard deviation, above 0; None: 1 each.

        Raises:
            DataError: If all targets are equal, or a target has no logarithm under "log".
        """
        if transform == "log" and min(targets) <= 0:
            wrong = [target for target in targets if target <= 0]
            raise DataError(
                f"`target_transform` 'log' needs targets above 0, but {len(wrong)} of {len(targets)} training targets are not,"
                f" such as {wrong[0]:g}. Use 'quantile', which takes any numbers, or correct the rows."
            )
        knots = _knots(targets, minimum, maximum) if transform == "quantile" and len(set(targets)) > 1 else ()
        low = 0.0 if minimum is None and min(targets) >= 0 else minimum
        high = 0.0 if maximum is None and max(targets) <= 0 else maximum
        written: list[float] = []
        if len(set(targets)) > 1:
            bare = cls(transform=transform, low=low, high=high, knots=knots)
            written = bare.writtens(np.array(targets, dtype=np.float64)).tolist()
        if len(set(written)) < 2:
            raise DataError(
                f"all {len(targets)} training targets are {targets[0]:g}; there is nothing to learn. Check the target column."
            )
        return cls(*_moments(written, weights), transform, low, high, knots)

    def written(self, number: float) -> float:
        """Return a raw number as it is written; infinite where it lies where the transform has no values."""
        return float(self.writtens(np.array([number], dtype=np.float64))[0])

    def writtens(self, numbers: Numbers) -> Numbers:
        """Return raw numbers as they are written; see `written`."""
        if self.transform == "log":
            with np.errstate(divide="ignore"):
                return np.asarray(np.log(np.maximum(numbers, 0.0)))
        if self.transform == "quantile":
            return np.asarray(np.interp(numbers, *self._columns, left=-math.inf, right=math.inf))
        return numbers

    def nearest_writtens(self, numbers: Numbers) -> Numbers:
        """Return raw numbers as they are written; those outside the range as its nearer end."""
        return np.clip(self.writtens(numbers), *self.ends)

    def standardised(self, number: float) -> float:
        """Return a raw number in standard deviations from the mean, on the scale that is written."""
        return (self.written(number) - self.mean) / self.std

    def raw(self, written: float) -> float:
        """Return the raw number of a written one, inside the range."""
        return float(self.raws(np.array([written]))[0])

    def raws(self, written: Numbers) -> Numbers:
        """Return the raw numbers of written ones, inside the range; they rise with these, up to rounding."""
        inside = np.clip(written, *self.ends)
        if self.transform == "log":
            inside = np.exp(inside)
        elif self.transform == "quantile":
            raws, scores = self._columns
            inside = np.interp(inside, scores, raws)
        # Once more: e^(log low) may be below `low` by a rounding error.
        return np.asarray(np.clip(inside, *self.bounds), dtype=np.float64)

    def of_head(self, standardised: float) -> tuple[float, bool]:
        """Return the raw number of a head's output, and whether it lay outside the range and stands at its end."""
        return self.of_written(self.mean + self.std * standardised)

    def of_written(self, written: float) -> tuple[float, bool]:
        """Return the raw number of one on the scale that is written, and whether it stands at an end of the range."""
        low, high = self.ends
        return self.raw(written), not low <= written <= high

    @property
    def ends(self) -> tuple[float, float]:
        """Ends of the range as written; infinite where there is no bound."""
        if self.transform == "quantile":
            return self.knots[0][1], self.knots[-1][1]
        if self.transform == "log":
            low, high = map(self.written, self.bounds)
            return max(low, -_MAX_LOG), min(high, _MAX_LOG)
        return self.bounds

    @property
    def bounds(self) -> tuple[float, float]:
        """Ends of the range of raw numbers; infinite where there is no bound."""
        return -math.inf if self.low is None else self.low, math.inf if self.high is None else self.high

    @cached_property
    def _columns(self) -> tuple[Numbers, Numbers]:
        """Raw numbers and scores of the knots."""
        raws, scores = np.array(self.knots, dtype=np.float64).T
        return raws, scores

    def written_range(self, minimum: float | None, maximum: float | None) -> tuple[float | None, float | None]:
        """Return a declared range as written, for a codec; None where an end follows from the training targets."""
        if self.transform == "quantile":
            return self.ends
        if self.transform == "log":
            low, high = (None if end is None or end <= 0 else self.written(end) for end in (minimum, maximum))
            return low, high
        return minimum, maximum


def _knots(targets: Sequence[float], minimum: float | None, maximum: float | None) -> tuple[tuple[float, float], ...]:
    """Distinct targets with the normal score of their mean rank; declared ends stand beside them as two more targets.

    Normal scores, not shares: they give the tails of a skewed distribution as many written digits as its middle.
    """
    ends = [e for e, is_beyond in ((minimum, min), (maximum, max)) if e is not None and is_beyond(e, *targets) == e]
    values, counts = np.unique(np.array([*targets, *ends], dtype=np.float64), return_counts=True)
    shares = (counts.cumsum() - counts / 2) / counts.sum()  # middle of the ranks that equal targets share
    normal = statistics.NormalDist()
    kept = np.unique(np.linspace(0, len(values) - 1, min(len(values), MAX_KNOTS)).round().astype(int))
    return tuple((float(values[i]), normal.inv_cdf(float(shares[i]))) for i in kept)


def _moments(numbers: Sequence[float], weights: Sequence[float] | None) -> tuple[float, float]:
    """Mean and standard deviation; the same to the last bit without weights and with equal ones."""
    if weights is None or len(set(weights)) == 1:
        return statistics.fmean(numbers), statistics.pstdev(numbers)
    mean = statistics.fmean(numbers, weights)
    return mean, math.sqrt(statistics.fmean([(number - mean) ** 2 for number in numbers], weights))

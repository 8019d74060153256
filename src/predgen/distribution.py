"""A number with its probabilities: what a writer says about every number it could write."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from predgen.errors import ConfigError

_ROUNDING = 1e-12  # cumulated probabilities of 1e6 numbers are off by less


@dataclass(frozen=True, slots=True, eq=False)
class Distribution:
    """Probabilities of the numbers of a grid.

    Where the grid is too large to be run whole, the numbers below some prefixes stay unexpanded. Of these only the joint
    probability is known, and the interval in which they lie; it is spread evenly over the interval, in steps of at most
    0.001 that stand at numbers of the grid. All other probabilities are exact, and so is the mass below each interval's
    ends: a quantile lies in the interval in which the exact one does (`quantile_bounds`), and cumulated probabilities are
    off by at most `unexpanded`, the mean by at most `mean_error`.

    Attributes:
        support: Numbers, ascending.
        probabilities: Their probabilities; they sum to 1.
        unexpanded: Probability mass that is spread over such intervals; 0: everything is exact.
        mean_error: Bound on the distance between `mean()` and the exact mean.
        nodes: Trie nodes that were run for it, besides the prompt.
        shift: How far the mean was moved from what the model writes to what its head says; 0: it is what is written.
        temperature: At which its probabilities stand (`uncertainty.temperature`); 1: as the model was trained.
        written: What is written, at the same temperature, where the mean was moved; None: it is what is written.
        is_cut: Whether the budget of nodes was spent before `unexpanded` was as small as asked for, or the mode certain.
        lowest: Lowest number of the interval over which each probability was spread, the number itself where it is exact;
            None: everything is exact.
        highest: The same for the highest.

    Example:
        >>> numbers = Distribution(np.array([1.0, 2.0, 4.0]), np.array([0.25, 0.5, 0.25]))
        >>> numbers.mean(), numbers.median(), numbers.mode(), numbers.quantile(0.9)
        (2.25, 2.0, 2.0, 4.0)
    """

    support: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64]
    unexpanded: float = 0.0
    mean_error: float = 0.0
    nodes: int = 0
    shift: float = 0.0
    is_cut: bool = False
    lowest: npt.NDArray[np.float64] | None = None
    highest: npt.NDArray[np.float64] | None = None
    temperature: float = 1.0
    written: "Distribution | None" = None

    def mean(self) -> float:
        """Return sum_a P(a|X) a: the best point under squared error (RAIL, Lukasik et al. 2024, arXiv:2403.04182)."""
        mean = float(self.probabilities @ self.support)
        return min(max(mean, float(self.support[0])), float(self.support[-1]))  # sums are rounded

    def std(self) -> float:
        """Return the standard deviation."""
        return float(np.sqrt(self.probabilities @ (self.support - self.mean()) ** 2))

    def median(self) -> float:
        """Return the lowest number with at least half of the mass at or below it: best under absolute error."""
        return self.quantile(0.5)

    def mode(self) -> float:
        """Return the most probable number, the lowest of several; of those expanded, where `is_cut`."""
        exact = self.probabilities
        if self.lowest is not None:
            exact = np.where(self.lowest == self.highest, exact, -1.0)
        return float(self.support[int(exact.argmax())])

    def quantile(self, level: float) -> float:
        """Return the lowest number with at least `level` of the mass at or below it.

        Raises:
            ConfigError: If `level` is outside 0..1.
        """
        return float(self.support[self._place(level)])

    def quantile_bounds(self, level: float) -> tuple[float, float]:
        """Return two numbers between which the exact quantile lies; both are it where everything is expanded.

        Raises:
            ConfigError: If `level` is outside 0..1.
        """
        place = self._place(level)
        if self.lowest is None or self.highest is None:
            return float(self.support[place]), float(self.support[place])
        return float(self.lowest[place]), float(self.highest[place])

    def crps(self, target: float) -> float:
        """Return the continuous ranked probability score, integral (F(x) - 1[target <= x])^2 dx, in the numbers' unit.

        It is the absolute error where all mass is on one number (Gneiting and Raftery 2007, section 4.2).

        Example:
            >>> Distribution(np.array([0.0, 1.0]), np.array([0.5, 0.5])).crps(0.0)
            0.25
        """
        points, width = self.support, np.diff(self.support)
        at_most = self.probabilities.cumsum()[:-1]  # F in the cell behind each number but the last
        before = np.minimum(np.maximum(target - points[:-1], 0.0), width)  # of each cell, the part below the target
        inside = before @ at_most**2 + (width - before) @ (1 - at_most) ** 2
        return float(inside + max(points[0] - target, 0.0) + max(target - points[-1], 0.0))

    def log_score(self, target: float) -> float | None:
        """Return -log P(the number nearest to the target), in nats; None where numbers were left unexpanded.

        It tells distributions over the same numbers apart, and no others. P is at least 2.2e-16, as in `log_loss`.
        """
        if self.lowest is not None:
            return None
        nearest = int(np.abs(self.support - target).argmin())
        return float(-np.log(max(float(self.probabilities[nearest]), np.finfo(np.float64).eps)))

    def _place(self, level: float) -> int:
        """Place of a quantile in the support."""
        check_levels([level])
        place = int(np.searchsorted(self.probabilities.cumsum(), level - _ROUNDING))
        return min(place, len(self.support) - 1)

    def to_dict(self) -> dict[str, Any]:
        """Return numbers, probabilities, what they leave out, and their temperature where it is not 1, as plain JSON data."""
        return {
            "support": self.support.tolist(),
            "probabilities": self.probabilities.tolist(),
            "unexpanded": self.unexpanded,
            **({} if self.temperature == 1 else {"temperature": self.temperature}),
        }


def check_levels(levels: Sequence[float]) -> None:
    """Refuse quantile levels outside 0..1.

    Raises:
        ConfigError: If one is.
    """
    for level in levels:
        if not 0 <= level <= 1:
            raise ConfigError(f"quantile level {level} is outside 0..1; give shares such as 0.05, 0.5 and 0.95.")

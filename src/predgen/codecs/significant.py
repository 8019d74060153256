"""Arithmetic of numbers with significant digits, and the choice between them and fixed-width decimals.

The numbers of `digits` significant digits are counted from 0 upwards by an integer m: at the lowest exponent e0 they are
m * 10^(e0 - digits + 1), m = 0 .. 10^digits - 1, a plain grid that holds zero; each further exponent adds
9 * 10^(digits - 1) numbers. Negative numbers are counted downwards.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from predgen.codecs.decimals import MAX_DIGITS, ROUNDING_SHARE, to_grid

MAX_FIXED_NUMBERS = 4000
"""Most numbers of a fixed-width grid that is chosen unasked.

All of them are expanded in fewer than 1,000 nodes, points included: the budget of an expansion (`core.MAX_NODES`), for
which docs/data.md has time and memory. Beyond, a writer that is unsure of the first digits leaves mass unexpanded.
"""
MIN_DIGITS = 3  # an answer is within 0.5 % of its target
EXTRA_DIGITS = 1  # digits that may be added where they tell all targets apart
BULK_SHARE = 0.1  # rounding RMSE of the middle half of the targets, under 10 % of that half's std


def place_of(value: Decimal, digits: int, exponent: int, rounding: str = ROUND_HALF_EVEN) -> int:
    """Count of a value, rounded to significant digits; negative for negative values.

    Args:
        value: Any number.
        digits: Significant digits.
        exponent: Lowest exponent; smaller numbers are rounded to its grid.
        rounding: Rounding of `decimal`, of the signed value.

    Example:
        >>> [place_of(Decimal(text), 2, 0) for text in ("0", "9.94", "9.96", "101", "-9.96")]
        [0, 99, 100, 190, -100]
    """
    above = max(value.adjusted(), exponent) - exponent if value else 0
    # A mantissa that is rounded up to 10^digits is the first one of the next exponent: the count has no gap there.
    mantissa = int(value.scaleb(digits - 1 - exponent - above).to_integral_value(rounding))
    beyond: int = above * 9 * 10 ** (digits - 1)
    return mantissa - beyond if value < 0 else mantissa + beyond


def exponents_above(m: int, digits: int) -> int:
    """How far the exponent of the m-th number lies above the lowest one."""
    first: int = 10 ** (digits - 1)
    return max(0, (m - first) // (9 * first))


def rounded_to(value: Decimal, digits: int, exponent: int) -> Decimal:
    """Return the number that `place_of` counts."""
    place = place_of(value, digits, exponent)
    above = exponents_above(abs(place), digits)
    mantissa = abs(place) - above * 9 * 10 ** (digits - 1)
    return Decimal(mantissa if place >= 0 else -mantissa).scaleb(exponent + above - digits + 1)


def lowest_exponent(values: Sequence[Decimal], low: Decimal, high: Decimal) -> int:
    """Exponent of the smallest magnitude to tell from zero: that of a range without zero, else of the targets.

    What lies 15 decades below the range's greatest magnitude is float noise beside it, and does not count.
    """
    top = max(abs(low), abs(high)).adjusted()
    least = low if low > 0 else -high if high < 0 else min((abs(value) for value in values if value), default=high)
    return max(least.adjusted(), top - MAX_DIGITS)


def choose_digits(values: Sequence[Decimal], exponent: int) -> int:
    """Fewest significant digits, at least 3, that round well; one more where it tells all targets apart.

    Targets that were recorded with few digits are then written as they are. Where one more does not suffice, as with
    measurements of many digits, it would be noise that has to be learned, and is left out.

    Example:
        >>> choose_digits([Decimal("6.370e-6"), Decimal("6.371e-6"), Decimal("2.7e-8")], -8)
        4
        >>> choose_digits([Decimal("6.3700001e-6"), Decimal("6.3700002e-6"), Decimal("2.7e-8")], -8)
        3
    """

    def is_good(digits: int) -> bool:
        return Rounding.of(values, lambda value: rounded_to(value, digits, exponent)).is_good

    digits = next((d for d in range(MIN_DIGITS, MAX_DIGITS) if is_good(d)), MAX_DIGITS)
    different = len({*values})
    for more in range(digits, min(digits + EXTRA_DIGITS, MAX_DIGITS) + 1):
        if len({place_of(value, more, exponent) for value in values}) == different:
            return more
    return digits


def suits_fixed(values: Sequence[Decimal], decimals: int, size: int) -> bool:
    """Whether fixed-width decimals are good for these targets: a grid that is not too large, rounded well.

    Args:
        values: Training targets.
        decimals: Decimals of the grid.
        size: Numbers of the grid.
    """
    rounding = Rounding.of(values, lambda value: Decimal(to_grid(value, decimals)).scaleb(-decimals))
    return size <= MAX_FIXED_NUMBERS and rounding.is_good


@dataclass(frozen=True, slots=True)
class Rounding:
    """What is lost where targets are rounded to numbers that can be written.

    An outlier makes the standard deviation so large that all other targets may be rounded to one number. Therefore the
    middle half of the targets, between the quartiles, is looked at on its own, too.

    Attributes:
        rmse: Root mean squared error, in the targets' unit.
        share: The same in standard deviations of the targets; infinite where they are all equal, and rounded.
        bulk_share: The same for the middle half alone; 0 where that is one number.

    Example:
        >>> ratings = [Decimal(k) / 10 for k in range(50)]
        >>> [Rounding.of(rows, round).is_good for rows in (ratings, [*ratings, Decimal(10000)])]
        [False, False]
        >>> Rounding.of(ratings, Decimal)
        Rounding(rmse=0.0, share=0.0, bulk_share=0.0)
    """

    rmse: float
    share: float
    bulk_share: float

    @classmethod
    def of(cls, values: Sequence[Decimal], rounded: Callable[[Decimal], Decimal]) -> "Rounding":
        """Round training targets, at least one."""
        ordered = sorted(values)
        errors = [float(rounded(value) - value) for value in ordered]
        if not any(errors):
            return cls(0.0, 0.0, 0.0)
        quarter = len(ordered) // 4
        bulk = slice(quarter, len(ordered) - quarter)
        rmse, std, spread = root_mean_square(errors), deviation(ordered), deviation(ordered[bulk])
        return cls(rmse, rmse / std if std else math.inf, root_mean_square(errors[bulk]) / spread if spread else 0.0)

    @property
    def is_good(self) -> bool:
        """Whether less than 1 % of a standard deviation is lost, and less than 10 % of the middle half's own."""
        return self.share < ROUNDING_SHARE and self.bulk_share < BULK_SHARE


def root_mean_square(errors: Sequence[float]) -> float:
    """Root of the mean square, without overflow or underflow on the way."""
    return math.hypot(*errors) / math.sqrt(len(errors))


def deviation(values: Sequence[Decimal]) -> float:
    """Population standard deviation."""
    numbers = [float(value) for value in values]
    mean = math.fsum(number / len(numbers) for number in numbers)
    return root_mean_square([number - mean for number in numbers])

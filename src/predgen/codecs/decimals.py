"""Decimal arithmetic for numbers that are written out: exact, so that no float noise reaches the tokens.

A grid of step 10^-d is kept as integers k, with value = k / 10^d.
"""

import math
from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

from predgen.errors import CodecError

MAX_CHOSEN_DECIMALS = 3  # docs/methods.md, codecs: decimals = the smallest d <= 3 that rounds well enough
MAX_DIGITS = 15  # decimal digits that every float holds exactly (sys.float_info.dig)
ROUNDING_SHARE = 0.01  # docs/methods.md, codecs: rounding RMSE under 1 % of the targets' std
WIDENING = Decimal("0.05")  # docs/methods.md, codecs: share of the span added on each side of an undeclared range


def to_decimal(value: object, name: str = "value") -> Decimal:
    """Exact decimal of a number as it is printed: 0.1 becomes 0.1, not 0.1000000000000000055.

    Args:
        value: A finite number.
        name: How messages call it.

    Returns:
        The number.

    Raises:
        CodecError: If it is not a number, nan or infinite.

    Example:
        >>> to_decimal(2.50)
        Decimal('2.5')
    """
    if isinstance(value, str | bool) or not hasattr(value, "__float__"):
        raise CodecError(f"{name} is {value!r}, but a number is needed. Convert the column to numbers.")
    number = float(value)
    if not math.isfinite(number):
        raise CodecError(f"{name} is {number}, but only finite numbers can be written. Correct or drop the row.")
    return Decimal(repr(number))


def to_grid(value: Decimal, decimals: int, rounding: str = ROUND_HALF_EVEN) -> int:
    """Grid integer k of a number, k = round(value * 10^decimals); ties go to the even k."""
    return int(value.scaleb(decimals).to_integral_value(rounding))


def from_grid(k: int, decimals: int) -> float:
    """Number of a grid integer, as the float nearest to its decimal notation."""
    return float(Decimal(k).scaleb(-decimals))


def rounding_rmse(values: Sequence[Decimal], decimals: int) -> float:
    """Root mean squared error of rounding to `decimals` decimals, in the values' unit.

    Example:
        >>> rounding_rmse([Decimal("0.5"), Decimal("1")], 0)  # 0.5 rounds to 0: sqrt((0.25 + 0) / 2)
        0.3535533905932738
    """
    errors = (float(value - Decimal(to_grid(value, decimals)).scaleb(-decimals)) for value in values)
    return math.sqrt(math.fsum(error * error for error in errors) / len(values))


def choose_decimals(values: Sequence[Decimal]) -> int:
    """Smallest number of decimals, at most 3, whose rounding RMSE is under 1 % of the values' (population) std.

    3 if none is. Values that are written without error need no more decimals, even where the std is 0.

    Args:
        values: Training targets, at least one.

    Returns:
        Decimals, 0..3.

    Source: docs/methods.md, codecs.

    Example:
        >>> choose_decimals([Decimal("0.5"), Decimal("1.0"), Decimal("4.25")])
        2
    """
    numbers = [float(value) for value in values]
    mean = math.fsum(number / len(numbers) for number in numbers)
    std = math.hypot(*(number - mean for number in numbers)) / math.sqrt(len(numbers))
    for decimals in range(MAX_CHOSEN_DECIMALS):
        error = rounding_rmse(values, decimals)
        if error == 0 or error < ROUNDING_SHARE * std:
            return decimals
    return MAX_CHOSEN_DECIMALS


def widened_bounds(values: Sequence[Decimal], decimals: int) -> tuple[int, int]:
    """Grid integers of min..max widened by 5 % of the span on each side, rounded outward, but never beyond 0.

    Where all values are 0 or more (or 0 or less), the range is, too: prices and counts get no negative answers, and no
    token for a sign. Where all values are equal there is no span: then by 5 % of the value, and at least one step.

    Example:
        >>> widened_bounds([Decimal(-10), Decimal(10)], 0), widened_bounds([Decimal(0), Decimal(10)], 1)
        ((-11, 11), (0, 105))
    """
    low, high = widened_range(values, Decimal(1).scaleb(-decimals))
    return to_grid(low, decimals, ROUND_FLOOR), to_grid(high, decimals, ROUND_CEILING)


def widened_range(values: Sequence[Decimal], least_margin: Decimal = Decimal(0)) -> tuple[Decimal, Decimal]:
    """Ends of the same range before they are rounded.

    Args:
        values: Training targets.
        least_margin: By how much to widen at least where all values are equal.
    """
    low, high = min(values), max(values)
    margin = (high - low) * WIDENING or max(abs(high) * WIDENING, least_margin)
    least, most = low - margin, high + margin
    return max(least, Decimal(0)) if low >= 0 else least, min(most, Decimal(0)) if low < 0 and high <= 0 else most


def read_decimal(whole: str, fraction: str = "", sign: str = "") -> float | None:
    """Float of digits and a sign; None beyond the float range; never -0.0."""
    number = float(f"{sign}{whole or '0'}.{fraction or '0'}")
    return number + 0.0 if math.isfinite(number) else None

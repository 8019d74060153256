"""Numbers of any size in few tokens: sign, exponent, significant digits; an automaton that is computed as needed.

12,345 with three digits is written "e4.123", -0.00021 "-e-4.210": the exponent comes first, then the digits, whose point
is left out because it always follows the first of them. So every prefix stands for an interval of numbers, as with
fixed-width decimals, and each further token makes the interval about ten times narrower, whatever the range.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from predgen.codecs.decimals import MAX_DIGITS, from_grid
from predgen.codecs.number_grid import DIGITS, NumberGrid, check_characters
from predgen.codecs.significant import exponents_above, place_of
from predgen.errors import CodecError

MAX_EXPONENT = 307  # 9.99e307 is a float, 9.99e308 is none
EXACT_POWER = 22  # 10^22 is the highest power of ten that a float holds exactly


class ScientificState(NamedTuple):
    """What has been written of a number.

    Attributes:
        position: Number of tokens written.
        lowest: Least k that begins so.
        highest: Greatest k that begins so.
    """

    position: int
    lowest: int
    highest: int


class ScientificSpace(NumberGrid):
    """Numbers m * 10^(e - digits + 1) with m of `digits` digits; m begins with 0 at the lowest exponent only.

    As with the floats of IEEE 754, the lowest decade is a plain grid that reaches down to 0, so that zero and numbers
    near it have one spelling each. k counts as `significant.place_of` does; zero is written with a plus.

    Args:
        low: k of the lowest number.
        high: k of the highest number, > low.
        digits: Significant digits, 1..15.
        exponent: Lowest exponent e.
        characters: Token id of each character in use: digits, "e", "."; "-" and "+" where a sign or an exponent needs them.
        separator: Token ids before the number.
        stop: Id of the stop token.

    Raises:
        CodecError: If low >= high, digits or exponents are out of range, or a character has no token.

    Example:
        >>> characters = {c: 10 + i for i, c in enumerate("0123456789e.")}
        >>> space = ScientificSpace(0, 459, 2, 0, characters, (5,), stop=0)  # 0.0, 0.1, .. 9.9, 10, 11, .. 99, 100, 110, ..
        >>> [space.number(k) for k in (0, 99, 100, 459)]
        [0.0, 9.9, 10.0, 99000.0]
        >>> space.write(190), space.range_of(space.start)
        ((5, 20, 12, 21, 11, 10), (0, 459))
    """

    format: ClassVar[str] = "scientific"

    def __init__(
        self,
        low: int,
        high: int,
        digits: int,
        exponent: int,
        characters: Mapping[str, int],
        separator: Sequence[int],
        stop: int,
    ) -> None:
        self.low, self.high, self.digits, self.exponent = low, high, digits, exponent
        self.characters, self.separator, self.stop = dict(characters), tuple(separator), stop
        if not 1 <= digits <= MAX_DIGITS or low >= high:
            raise CodecError(
                f"the range has {max(0, high - low + 1)} number(s) of {digits} significant digits, but needs two, and 1 to"
                f" {MAX_DIGITS} digits. Widen `minimum` or `maximum`."
            )
        # Numbers are counted through, k = low .. high, so that ranges of k are all that has to be kept. The magnitude m = |k|
        # counts mantissas of d digits upwards, exponent after exponent (here d = 2, lowest exponent e):
        #
        #   m     0 .. 9        10 .. 99       100 .. 189        190 .. 279
        #       0.0 .. 0.9    1.0 .. 9.9      1.0 .. 9.9         1.0 .. 9.9
        #       at e          at e            at e + 1           at e + 2
        #
        # The lowest exponent alone has mantissas that begin with 0; every other one adds a decade of 9 * 10^(d - 1) numbers.
        # A state of the space is an interval of k. The exponent is written first, then the digits, most significant first, so
        # that what is written always leaves an interval, and choosing a character cuts it.
        self._decade: int = 9 * 10 ** (digits - 1)  # numbers of every exponent but the lowest
        exponents = [self._exponent(m) for m in self._magnitudes(low, high)]
        if max(map(abs, exponents)) > MAX_EXPONENT:
            raise CodecError(
                f"the range reaches from 10^{min(exponents)} to 10^{max(exponents)}, but exponents within"
                f" {-MAX_EXPONENT}..{MAX_EXPONENT} can be written. Rescale the targets."
            )
        self.has_exponent_sign = min(exponents) < 0
        self.exponent_width = len(str(max(map(abs, exponents))))
        self._picture = (
            ("s" * len(self.separator) + "+" * (low < 0))
            + ("e" + "x" * self.has_exponent_sign + "E" * self.exponent_width)
            + ("." + "d" * digits)
        )
        self.length = len(self._picture)
        self.levels = (low < 0) + self.has_exponent_sign + self.exponent_width + digits
        check_characters(self.characters, needed_characters(low, min(exponents)), stop)

    @property
    def start(self) -> ScientificState:
        return ScientificState(0, self.low, self.high)

    def number(self, k: int) -> float:
        m = abs(k)
        number = from_grid(self._mantissa(m), self.digits - 1 - self._exponent(m))
        return -number if k < 0 else number

    def numbers(self, ks: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        m = np.abs(ks)
        decades = np.maximum(0, (m - 10 ** (self.digits - 1)) // self._decade)
        power = decades + (self.exponent - self.digits + 1)
        if np.abs(power).max(initial=0) > EXACT_POWER:
            return np.array([self.number(int(k)) for k in ks], dtype=np.float64)
        # One rounding of exact operands gives the float nearest to the decimal notation.
        mantissa, scale = (m - decades * self._decade).astype(np.float64), 10.0 ** np.abs(power)
        numbers = np.sign(ks) * np.where(power < 0, mantissa / scale, mantissa * scale)
        return np.asarray(numbers, dtype=np.float64) + 0.0  # not -0.0

    def place(self, value: Decimal, rounding: str = ROUND_HALF_EVEN) -> int:
        return place_of(value, self.digits, self.exponent, rounding)

    def range_of(self, state: Hashable) -> tuple[int, int]:
        assert isinstance(state, ScientificState)
        return state.lowest, state.highest

    def _position(self, state: Hashable) -> int:
        assert isinstance(state, ScientificState)
        return state.position

    def write(self, k: int) -> tuple[int, ...]:
        assert self.low <= k <= self.high
        sign = ("-" if k < 0 else "+") if self.low < 0 else ""
        text = sign + "".join(self._character(abs(k), slot, i) for slot, i in self._slots())
        return (*self.separator, *(self.characters[character] for character in text))

    def children(self, state: Hashable) -> dict[int, ScientificState]:
        assert isinstance(state, ScientificState)
        position, lowest, highest = state
        if position == self.length:
            return {}
        slot = self._picture[position]
        if slot == "s":
            return {self.separator[position]: ScientificState(position + 1, lowest, highest)}
        if slot == "+":
            signs = {"-": (lowest, min(highest, -1)), "+": (max(lowest, 0), highest)}
            return {
                self.characters[c]: ScientificState(position + 1, *part)
                for c, part in signs.items()
                if part[0] <= part[1]
            }
        least, most = self._magnitudes(lowest, highest)
        parts = self._parts(least, most, slot, position - self._picture.index(slot))
        return {
            self.characters[c]: ScientificState(position + 1, *((-b, -a) if lowest < 0 else (a, b)))
            for c, a, b in parts
        }

    def _slots(self) -> Iterator[tuple[str, int]]:
        """Kind of each place after the sign, and its number among those of its kind."""
        for position, slot in enumerate(self._picture):
            if slot not in "s+":
                yield slot, position - self._picture.index(slot)

    def _parts(self, least: int, most: int, slot: str, i: int) -> Iterator[tuple[str, int, int]]:
        """Characters that may stand in a place, each with the magnitudes that go on with it."""
        while least <= most:
            end = min(most, self._last_alike(least, slot, i))
            yield self._character(least, slot, i), least, end
            least = end + 1

    def _character(self, m: int, slot: str, i: int) -> str:
        """What magnitude `m` has in the i-th place of a kind."""
        if slot == "x":
            return "-" if self._exponent(m) < 0 else "+"
        if slot == "E":
            return str(abs(self._exponent(m))).zfill(self.exponent_width)[i]
        if slot == "d":
            return str(self._mantissa(m)).zfill(self.digits)[i]
        return slot

    def _last_alike(self, m: int, slot: str, i: int) -> int:
        """Greatest magnitude that has the same characters as `m` up to the i-th place of a kind."""
        exponent = self._exponent(m)
        if slot == "x":
            return self._last_of(-1) if exponent < 0 else self._last_of(MAX_EXPONENT)
        if slot == "E":
            unit: int = 10 ** (self.exponent_width - i - 1)
            first = abs(exponent) // unit * unit
            # Negative exponents count down: -19, .. -10 begin with 1; what begins with 0 ends at -1.
            return self._last_of(first + unit - 1 if exponent >= 0 else -max(1, first))
        if slot == "d":
            unit = 10 ** (self.digits - i - 1)
            return m + unit - 1 - self._mantissa(m) % unit
        return self._last_of(MAX_EXPONENT)

    def _last_of(self, exponent: int) -> int:
        """Greatest magnitude of an exponent."""
        last: int = 10**self.digits - 1
        return last + (exponent - self.exponent) * self._decade

    def _exponent(self, m: int) -> int:
        """Exponent of a magnitude."""
        return self.exponent + exponents_above(m, self.digits)

    def _mantissa(self, m: int) -> int:
        """Digits of a magnitude, read as one integer."""
        return m - exponents_above(m, self.digits) * self._decade

    @staticmethod
    def _magnitudes(lowest: int, highest: int) -> tuple[int, int]:
        """Least and greatest magnitude of an interval."""
        least = 0 if lowest <= 0 <= highest else min(abs(lowest), abs(highest))
        return least, max(abs(lowest), abs(highest))

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": self.format,
            "low": self.low,
            "high": self.high,
            "digits": self.digits,
            "exponent": self.exponent,
            "characters": dict(self.characters),
            "separator": list(self.separator),
            "stop": self.stop,
        }


def needed_characters(low: int, exponent: int) -> str:
    """Characters that numbers from number `low` on are written with, the lowest exponent being `exponent`."""
    return DIGITS + "e." + ("+-" if low < 0 or exponent < 0 else "")

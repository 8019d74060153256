"""The legal fixed-width numbers as an automaton that is computed as needed (docs/methods.md, codec `number`)."""

from collections.abc import Hashable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from predgen.codecs.decimals import MAX_DIGITS, from_grid, to_grid
from predgen.codecs.number_grid import DIGITS, NumberGrid, check_characters
from predgen.errors import CodecError


class NumberState(NamedTuple):
    """What has been written of a number.

    Attributes:
        position: Number of tokens written.
        is_negative: Whether a minus was written.
        digits: The digits written so far, read as one integer.
    """

    position: int
    is_negative: bool
    digits: int


class NumberSpace(NumberGrid):
    """All grid numbers low/10^d .. high/10^d in steps of 10^-d. Computed as needed: a billion answers cost nothing.

    A state belongs to one prefix only, as a trie's node does. Zero is written with a plus, never with a minus.

    Args:
        low: Lowest grid integer.
        high: Highest grid integer, > low.
        decimals: Number of decimals d, >= 0; 0: no point is written.
        characters: Token id of each character in use: digits; "." if d > 0; "+" and "-" if low < 0.
        separator: Token ids before the number.
        stop: Id of the stop token.

    Raises:
        CodecError: If low >= high, more than 15 digits are needed, or a character has no token.

    Example:
        >>> space = NumberSpace(9, 11, 0, {c: 10 + int(c) for c in "0123456789"}, (5,), stop=0)
        >>> tens = space.advance(space.advance(space.start, 5), 11)
        >>> space.legal(tens), space.size
        ((10, 11), 3)
    """

    format: ClassVar[str] = "fixed"

    def __init__(
        self, low: int, high: int, decimals: int, characters: Mapping[str, int], separator: Sequence[int], stop: int
    ) -> None:
        self.low, self.high, self.decimals = low, high, decimals
        self.characters, self.separator, self.stop = dict(characters), tuple(separator), stop
        if low >= high:
            raise CodecError(
                f"the range has {max(0, high - low + 1)} number(s) of {decimals} decimals (low {low}, high {high} times "
                f"10^-{decimals}), but a choice needs two. Raise `decimals`, or widen `minimum` or `maximum`."
            )
        self.width = max(len(str(max(abs(low), abs(high)))), decimals + 1)
        if self.width > MAX_DIGITS:
            raise CodecError(
                f"the range's numbers have {self.width} digits, but at most {MAX_DIGITS} can be told apart. Lower "
                "`decimals`, narrow `minimum` and `maximum`, or rescale the targets."
            )
        self._picture = "s" * len(self.separator) + self._paint(low if low < 0 else high)
        self.length = len(self._picture)
        self.levels = self.width + (low < 0)
        needed = DIGITS + ("." if decimals else "") + ("+-" if low < 0 else "")
        check_characters(self.characters, needed, stop)

    @property
    def start(self) -> NumberState:
        return NumberState(0, False, 0)

    def number(self, k: int) -> float:
        return from_grid(k, self.decimals)

    def numbers(self, ks: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        # Both are whole numbers that a float holds, so that the quotient is the float nearest to the decimal notation.
        return np.asarray(ks / 10.0**self.decimals, dtype=np.float64)

    def place(self, value: Decimal, rounding: str = ROUND_HALF_EVEN) -> int:
        return to_grid(value, self.decimals, rounding)

    def _position(self, state: Hashable) -> int:
        assert isinstance(state, NumberState)
        return state.position

    def range_of(self, state: Hashable) -> tuple[int, int]:
        """Return the lowest and highest grid integer that begin with what was written at `state`.

        Example:
            >>> space = NumberSpace(-5, 13, 0, {c: 10 + i for i, c in enumerate("0123456789+-")}, (), stop=0)
            >>> [space.range_of(NumberState(*state)) for state in ((0, False, 0), (1, True, 0), (2, False, 1))]
            [(-5, 13), (-5, -1), (10, 13)]
        """
        # With u digits left to write, the digits so far, read as one integer D, leave |k| from D * 10^u to (D + 1) * 10^u - 1. The
        # range cuts that; behind a minus the two ends change places. There is no -0: its least magnitude is 1.
        assert isinstance(state, NumberState)
        position, is_negative, digits = state
        signs = sum(slot in "+-" for slot in self._picture[:position])
        if self.low < 0 and not signs:
            return self.low, self.high
        unit: int = 10 ** len(self._picture[position:].replace(".", "").replace("s", ""))
        least, most = digits * unit, (digits + 1) * unit - 1
        if is_negative:
            return max(self.low, -most), min(self.high, -max(1, least))
        return max(self.low, least), min(self.high, most)

    def write(self, k: int) -> tuple[int, ...]:
        assert self.low <= k <= self.high
        return (*self.separator, *(self.characters[character] for character in self._paint(k)))

    def _paint(self, k: int) -> str:
        """Characters of grid integer `k`."""
        digits = str(abs(k)).zfill(self.width)
        whole, fraction = digits[: self.width - self.decimals], digits[self.width - self.decimals :]
        sign = ("-" if k < 0 else "+") if self.low < 0 else ""
        return sign + whole + ("." + fraction if fraction else "")

    def children(self, state: Hashable) -> dict[int, NumberState]:
        assert isinstance(state, NumberState)
        position, is_negative, digits = state
        if position == self.length:
            return {}
        slot = self._picture[position]
        if slot == "s":
            return {self.separator[position]: NumberState(position + 1, False, 0)}
        if slot == ".":
            return {self.characters["."]: NumberState(position + 1, is_negative, digits)}
        if slot in "+-":
            signs = ("-", "+") if self.high >= 0 else ("-",)
            return {self.characters[sign]: NumberState(position + 1, sign == "-", 0) for sign in signs}
        return {
            self.characters[digit]: NumberState(position + 1, is_negative, 10 * digits + int(digit))
            for digit in DIGITS
            if self._can_become(position + 1, is_negative, 10 * digits + int(digit))
        }

    def _can_become(self, position: int, is_negative: bool, digits: int) -> bool:
        """Whether some number of the range starts with `digits`: do two intervals of |k| overlap?"""
        unit: int = 10 ** len(self._picture[position:].replace(".", ""))
        lowest, highest = (max(1, -self.high), -self.low) if is_negative else (max(0, self.low), self.high)
        return digits * unit <= highest and (digits + 1) * unit > lowest

    def to_dict(self) -> dict[str, Any]:
        return {
            "low": self.low,
            "high": self.high,
            "decimals": self.decimals,
            "characters": dict(self.characters),
            "separator": list(self.separator),
            "stop": self.stop,
        }

"""What all number formats share: numbers in ascending order, each with one spelling of fixed length."""

from abc import abstractmethod
from collections.abc import Hashable, Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from predgen.codecs.base import FiniteSpace
from predgen.errors import CodecError

DIGITS = "0123456789"


class NumberGrid(FiniteSpace):
    """Numbers that can be written, counted upwards by an integer k, low <= k <= high. Computed as needed.

    The numbers that begin with the same tokens follow each other without a gap, so a state stands for an interval of k.

    Attributes:
        format: Name of the number format (`RunConfig.number_format`).
        low: k of the lowest number.
        high: k of the highest number, > low.
        characters: Token id of each character in use.
        separator: Token ids before the number.
        length: Content tokens of every answer.
        levels: Most choices on the way to a number.
    """

    format: ClassVar[str]
    low: int
    high: int
    characters: dict[str, int]
    separator: tuple[int, ...]
    length: int
    levels: int

    @property
    def size(self) -> int:
        """Number of legal answers."""
        return self.high - self.low + 1

    @abstractmethod
    def number(self, k: int) -> float:
        """Return number k, as the float nearest to its decimal notation."""

    @abstractmethod
    def numbers(self, ks: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return the numbers of many k at once."""

    @abstractmethod
    def place(self, value: Decimal, rounding: str = ROUND_HALF_EVEN) -> int:
        """Return the k of a value rounded to the format, be it in the range or not."""

    @abstractmethod
    def children(self, state: Hashable) -> Mapping[int, Hashable]:
        """Return the content tokens that may come next, with the states they lead to; none after the last token."""

    @abstractmethod
    def range_of(self, state: Hashable) -> tuple[int, int]:
        """Return the lowest and highest k whose numbers begin with what was written at `state`."""

    @abstractmethod
    def write(self, k: int) -> tuple[int, ...]:
        """Return the content tokens of number `k`, low <= k <= high."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the arguments from which an equal grid is made, as JSON data."""

    @abstractmethod
    def _position(self, state: Hashable) -> int:
        """Tokens written at `state`."""

    def nearest(self, value: Decimal) -> int:
        """Return the k of the number of the range that is closest to a value."""
        return min(max(self.place(value), self.low), self.high)

    def legal(self, state: Hashable) -> tuple[int, ...]:
        return tuple(sorted(self.children(state))) or (self.stop,)

    def advance(self, state: Hashable, token: int) -> Hashable:
        try:
            return self.children(state)[token]
        except KeyError:
            raise CodecError(
                f"token {token} is not legal after {self._position(state)} tokens of a number; legal are {self.legal(state)}."
            ) from None

    def answer_at(self, state: Hashable) -> int | None:
        return self.range_of(state)[0] - self.low if self._position(state) == self.length else None


def check_characters(characters: Mapping[str, int], needed: str, stop: int) -> None:
    """Make sure that every character that some answer uses has a token of its own, and none is the stop.

    Raises:
        CodecError: If not.
    """
    ids = [characters.get(character) for character in needed]
    if None in ids or len({*ids, stop}) <= len(needed):
        raise CodecError(
            f"characters {dict(characters)} with stop {stop} must give each of {needed!r} a token of its own. "
            "Save the model again, or copy it anew."
        )

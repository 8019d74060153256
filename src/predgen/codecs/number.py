"""Fixed-width decimal numbers, one token per character (SPEC 3, `number`).

A number of the range -1.5..12.0 is written as separator, sign, two integer digits, point, one decimal: " +09.5".
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from predgen.codecs.base import DAMAGED, Decoded, FiniteCodec, TokenId
from predgen.codecs.decimals import (
    MAX_DIGITS,
    choose_decimals,
    from_grid,
    read_plain,
    rounding_rmse,
    to_decimal,
    to_grid,
    widened_bounds,
)
from predgen.codecs.number_space import DIGITS, NumberSpace, NumberState
from predgen.codecs.spelling import char_ids, separator_ids, stop_id
from predgen.core import Target
from predgen.errors import CodecError
from predgen.plain_data import typed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["NumberCodec", "NumberSpace", "NumberState"]

# A bound of 0.7 stored as float32 comes back as 0.69999999: such noise is not outside. Relative to the span, so that a
# range of 1.7e9 .. 1.7e9 + 50 does not let in what lies 1,000 beyond it.
BOUND_TOLERANCE = Decimal("1e-6")
_PLAIN = re.compile(r"\s*([+-]?)([0-9]+)(?:\.([0-9]+))?\s*")


@dataclass(frozen=True, slots=True)
class NumberData:
    """What a number codec is saved as."""

    low: int
    high: int
    decimals: Annotated[int, Field(ge=0, le=MAX_DIGITS)]
    characters: dict[str, TokenId]
    separator: list[TokenId]
    stop: TokenId
    scale: tuple[float, float]
    rounding_rmse: float
    codec: str = "number"


class NumberCodec(FiniteCodec):
    """Number <-> token ids on a grid of step 10^-decimals.

    Attributes:
        low: Lowest number that can be written.
        high: Highest number that can be written.
        step: Distance of neighbouring numbers.
        decimals: Number of decimals.
        scale: Range in which `encode` accepts values. Declared bounds need not lie on the grid.
        rounding_rmse: Root mean squared error of rounding the training targets, in their unit.
        size: Number of legal answers.
        space: The legal answers.

    Args:
        space: The legal answers.
        scale: Lowest and highest value to accept.
        rounding_rmse: Reported, not used.

    Example:
        >>> characters = {character: 10 + i for i, character in enumerate("0123456789.")}
        >>> codec = NumberCodec(NumberSpace(0, 125, 1, characters, (5,), stop=0), (0.0, 12.5), 0.0)
        >>> codec.encode(Target(9.54)), codec.decode([5, 10, 19, 20, 15]).value
        ((5, 10, 19, 20, 15, 0), 9.5)
    """

    name: ClassVar[str] = "number"
    space: NumberSpace

    def __init__(self, space: NumberSpace, scale: tuple[float, float], rounding_rmse: float) -> None:
        self.space = space
        self.scale = scale
        self.rounding_rmse = rounding_rmse
        self.decimals = space.decimals
        self.low, self.high = from_grid(space.low, space.decimals), from_grid(space.high, space.decimals)
        self.step = from_grid(1, space.decimals)
        self.max_tokens = space.length + 1
        self._texts = {token: character for character, token in space.characters.items()}

    @classmethod
    def fit(
        cls,
        targets: Sequence[float],
        tokenizer: "PreTrainedTokenizerBase",
        *,
        scale: tuple[float | None, float | None] | None = None,
        decimals: int | None = None,
    ) -> "NumberCodec":
        """Choose the grid for training targets and look up the tokens of its characters.

        Args:
            targets: Training targets, at least one.
            tokenizer: Tokenizer of the base model.
            scale: Declared lowest and highest value. Where an end, or all, is None: that of `targets`, widened by 5 % of the
                span but never beyond 0.
            decimals: Number of decimals, 0..15; None: the smallest that rounds well (`decimals.choose_decimals`).

        Returns:
            The codec.

        Raises:
            CodecError: If a target is no number or outside a declared scale, the grid has fewer than two numbers or
                more than 15 digits, or the tokenizer cannot spell a character.
        """
        values = [to_decimal(target, f"target {index}") for index, target in enumerate(targets)]
        if not values:
            raise CodecError(
                "`targets` is empty, but the number codec is made from training targets. Pass at least one."
            )
        if decimals is None:
            decimals = choose_decimals(values)
        elif isinstance(decimals, bool) or not isinstance(decimals, int) or not 0 <= decimals <= MAX_DIGITS:
            raise CodecError(
                f"`decimals` is {decimals!r}, but must be a whole number 0..{MAX_DIGITS}, or None to choose it."
            )
        low, high = widened_bounds(values, decimals)
        widened = from_grid(low, decimals), from_grid(high, decimals)
        if scale is not None:
            least, most = _check_scale(scale, values)
            low = low if least is None else to_grid(least, decimals, ROUND_CEILING)
            high = high if most is None else to_grid(most, decimals, ROUND_FLOOR)
        accepted = [wide if end is None else end for end, wide in zip(scale or (None, None), widened, strict=True)]
        characters = char_ids(tokenizer, DIGITS + ("." if decimals else "") + ("+-" if low < 0 else ""))
        space = NumberSpace(low, high, decimals, characters, separator_ids(tokenizer), stop_id(tokenizer))
        return cls(space, (accepted[0], accepted[1]), rounding_rmse(values, decimals))

    @property
    def size(self) -> int:
        """Number of legal answers."""
        return self.space.size

    def value_at(self, index: int) -> float:
        return from_grid(self.space.low + index, self.decimals)

    def answers(self) -> Iterator[float]:
        """Yield every number of the grid, ascending."""
        return map(self.value_at, range(self.size))

    @cached_property
    def grid(self) -> npt.NDArray[np.float64]:
        """Every number of the grid, ascending, as one array."""
        return np.fromiter(self.answers(), dtype=np.float64, count=self.size)

    def nearest(self, value: float) -> float:
        """Number of the grid that is closest to any finite `value`, inside the range or not."""
        return from_grid(self._to_grid(to_decimal(value)), self.decimals)

    @property
    def token_ids(self) -> frozenset[int]:
        return frozenset((*self.space.characters.values(), *self.space.separator, self.space.stop))

    def encode(self, target: Target) -> tuple[int, ...]:
        value = to_decimal(target.value)
        if not is_within(value, *self.scale):
            raise CodecError(
                f"value {target.value} is outside the range {self.scale[0]}..{self.scale[1]} of the number codec. Widen "
                "`minimum` or `maximum` for training, or score the row with `nearest(value)`."
            )
        return (*self.space.write(self._to_grid(value)), self.space.stop)

    def _to_grid(self, value: Decimal) -> int:
        """Grid integer of the nearest number of the range."""
        return min(max(to_grid(value, self.decimals), self.space.low), self.space.high)

    def decode(self, ids: Sequence[int]) -> Decoded:
        state = self._walk(ids)[-1]
        if state.position < self.space.length:
            raise CodecError(f"tokens {tuple(ids)} end inside a number: it has {self.space.length} content tokens.")
        return Decoded(from_grid(-state.digits if state.is_negative else state.digits, self.decimals))

    def text(self, ids: Sequence[int]) -> str:
        """Return the characters that content tokens spell, without the separator; CodecError where they are illegal."""
        self._walk(ids)
        return "".join(self._texts[token] for token in ids[len(self.space.separator) :])

    def parse(self, text: str) -> float | None:
        """Read one plain number: sign, digits, point and digits, with blanks around it; None for all else."""
        match = _PLAIN.fullmatch(text)
        return read_plain(match[2], match[3] or "", match[1]) if match else None

    def weighed_positions(self, ids: Sequence[int]) -> tuple[bool, ...]:
        if not ids or ids[-1] != self.space.stop:
            raise CodecError(
                f"answer {tuple(ids)} must end with the stop token {self.space.stop}. Pass what `encode` returns."
            )
        self.decode(ids[:-1])
        states = self._walk(ids[:-1])[:-1]
        return (*(not self.space.is_forced(state) for state in states), False)

    def _walk(self, ids: Sequence[int]) -> list[NumberState]:
        """States before each token and after the last."""
        states = [self.space.start]
        for token in ids:
            states.append(self.space.advance(states[-1], token))
        return states

    def to_dict(self) -> dict[str, Any]:
        return {
            "codec": self.name,
            "low": self.space.low,
            "high": self.space.high,
            "decimals": self.decimals,
            "characters": dict(self.space.characters),
            "separator": list(self.space.separator),
            "stop": self.space.stop,
            "scale": list(self.scale),
            "rounding_rmse": self.rounding_rmse,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "NumberCodec":
        saved: NumberData = typed(
            NumberData, dict(data), "saved number codec is damaged", error=CodecError, repair=DAMAGED
        )
        space = NumberSpace(saved.low, saved.high, saved.decimals, saved.characters, saved.separator, saved.stop)
        return cls(space, saved.scale, saved.rounding_rmse)


def _check_scale(
    scale: tuple[float | None, float | None], values: Sequence[Decimal]
) -> tuple[Decimal | None, Decimal | None]:
    """Ends of a declared range that holds all training targets."""
    names = ("`minimum`", "`maximum`")
    low, high = (None if end is None else to_decimal(end, name) for end, name in zip(scale, names, strict=True))
    if low is not None and high is not None and low >= high:
        raise CodecError(
            f"the range of the targets is {scale[0]}..{scale[1]}, but `minimum` must be below `maximum`. Swap or correct them."
        )
    for index, value in enumerate(values):
        if not is_within(value, *scale):
            raise CodecError(
                f"target {index} is {float(value)}, outside the declared range {scale[0]}..{scale[1]}. Correct the row, or "
                "widen `minimum` or `maximum`."
            )
    return low, high


def is_within(value: Decimal, low: float | None, high: float | None) -> bool:
    """Whether a value lies in low..high, up to float32 noise; None: no bound.

    Example:
        >>> is_within(Decimal("0.69999999"), 0.7, 1.0), is_within(Decimal("1.1"), None, 1.0)
        (True, False)
    """
    least, most = (None if end is None else to_decimal(end) for end in (low, high))
    ends = [end for end in (least, most) if end is not None]
    slack = BOUND_TOLERANCE * (abs(ends[-1] - ends[0]) if len(ends) == 2 else sum(map(abs, ends), Decimal(0)))
    return (least is None or least - slack <= value) and (most is None or value <= most + slack)

"""Numbers, one token per character: fixed-width decimals (docs/methods.md, codec `number`), or significant digits with an exponent.

A number of the range -1.5..12.0 is written as separator, sign, two integer digits, point, one decimal: " +09.5"; a number
of the range 0..2,000,000 as separator, exponent, significant digits: " e4.123" for 12,300.
"""

import math
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
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
    read_decimal,
    to_decimal,
    to_grid,
    widened_bounds,
    widened_range,
)
from predgen.codecs.number_grid import DIGITS, NumberGrid
from predgen.codecs.number_space import NumberSpace, NumberState
from predgen.codecs.scientific_space import MAX_EXPONENT, ScientificSpace, needed_characters
from predgen.codecs.significant import Rounding, choose_digits, lowest_exponent, place_of, suits_fixed
from predgen.codecs.spelling import PLAIN_TURN, Turn, char_ids, separator_ids, stop_id
from predgen.core import Target
from predgen.errors import CodecError
from predgen.near_names import near_matches
from predgen.plain_data import typed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["FORMATS", "NumberCodec", "NumberSpace", "NumberState"]

FORMATS = ("auto", "fixed", "scientific")
"""Number formats that users may ask for."""

# A bound of 0.7 stored as float32 comes back as 0.69999999: such noise is not outside. Relative to the span, so that a
# range of 1.7e9 .. 1.7e9 + 50 does not let in what lies 1,000 beyond it.
BOUND_TOLERANCE = Decimal("1e-6")
_PLAIN = re.compile(r"\s*([+-]?)([0-9]+)(?:\.([0-9]+))?\s*")
_SCIENTIFIC = re.compile(r"\s*([+-]?)e([+-]?[0-9]{1,3})\.([0-9])([0-9]*)\s*")


@dataclass(frozen=True, slots=True)
class NumberData:
    """What a number codec of fixed format is saved as."""

    low: int
    high: int
    decimals: Annotated[int, Field(ge=0, le=MAX_DIGITS)]
    characters: dict[str, TokenId]
    separator: list[TokenId]
    stop: TokenId
    scale: tuple[float, float]
    rounding_rmse: float
    codec: str = "number"


@dataclass(frozen=True, slots=True)
class ScientificData:
    """What a number codec of scientific format is saved as."""

    format: str
    low: int
    high: int
    digits: Annotated[int, Field(ge=1, le=MAX_DIGITS)]
    exponent: Annotated[int, Field(ge=-MAX_EXPONENT - MAX_DIGITS, le=MAX_EXPONENT)]
    characters: dict[str, TokenId]
    separator: list[TokenId]
    stop: TokenId
    scale: tuple[float, float]
    rounding_rmse: float
    codec: str = "number"


class NumberCodec(FiniteCodec):
    """Number <-> token ids, in one of two formats.

    Attributes:
        low: Lowest number that can be written.
        high: Highest number that can be written.
        step: Distance of neighbouring numbers; None where it grows with them (scientific format).
        decimals: Number of decimals; None in scientific format.
        scale: Range in which `encode` accepts values. Declared bounds need not be numbers that can be written.
        rounding_rmse: Root mean squared error of rounding the training targets, in their unit.
        rounding: The same beside the targets' standard deviation; None in a codec that was loaded.
        size: Number of legal answers.
        space: The legal answers.

    Args:
        space: The legal answers.
        scale: Lowest and highest value to accept.
        rounding_rmse: Reported, not used.
        rounding: Reported, not used, and not saved.

    Example:
        >>> characters = {character: 10 + i for i, character in enumerate("0123456789.")}
        >>> codec = NumberCodec(NumberSpace(0, 125, 1, characters, (5,), stop=0), (0.0, 12.5), 0.0)
        >>> codec.encode(Target(9.54)), codec.decode([5, 10, 19, 20, 15]).value
        ((5, 10, 19, 20, 15, 0), 9.5)
    """

    name: ClassVar[str] = "number"
    space: NumberGrid

    def __init__(
        self, space: NumberGrid, scale: tuple[float, float], rounding_rmse: float, rounding: Rounding | None = None
    ) -> None:
        self.space = space
        self.scale = scale
        self.rounding_rmse = rounding_rmse
        self.rounding = rounding
        self.decimals = space.decimals if isinstance(space, NumberSpace) else None
        self.low, self.high = space.number(space.low), space.number(space.high)
        self.step = None if self.decimals is None else from_grid(1, self.decimals)
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
        number_format: str = "auto",
        turn: Turn = PLAIN_TURN,
    ) -> "NumberCodec":
        """Choose the numbers for training targets and look up the tokens of their characters.

        Args:
            targets: Training targets, at least one.
            tokenizer: Tokenizer of the base model.
            scale: Declared lowest and highest value. Where an end, or all, is None: that of `targets`, widened by 5 % of the
                span but never beyond 0.
            decimals: Number of decimals, 0..15, in fixed format; None: the smallest that rounds well
                (`decimals.choose_decimals`).
            number_format: "fixed"; "scientific", with as many significant digits as round well
                (`significant.choose_digits`); "auto": fixed where `decimals` are given or it is good for the targets
                (`significant.suits_fixed`), else scientific.
            turn: Where answers stand.

        Returns:
            The codec.

        Raises:
            CodecError: If a target is no number or outside a declared scale, there are fewer than two numbers or more than
                15 digits, the format does not fit `decimals`, or the tokenizer cannot spell a character.
        """
        values = [to_decimal(target, f"target {index}") for index, target in enumerate(targets)]
        if not values:
            raise CodecError(
                "`targets` is empty, but the number codec is made from training targets. Pass at least one."
            )
        _check_format(number_format, decimals)
        ends = (None, None) if scale is None else _check_scale(scale, values)
        places = choose_decimals(values) if decimals is None else decimals
        low, high = _fixed_bounds(values, ends, places)
        if number_format == "scientific" or (
            number_format == "auto" and decimals is None and not suits_fixed(values, places, high - low + 1)
        ):
            space: NumberGrid = _scientific(values, ends, tokenizer, turn)
        else:
            characters = char_ids(tokenizer, DIGITS + ("." if places else "") + ("+-" if low < 0 else ""))
            space = NumberSpace(low, high, places, characters, separator_ids(tokenizer, turn), stop_id(tokenizer, turn))
        written = space.number(space.low), space.number(space.high)
        low_end, high_end = (
            wide if end is None else end for end, wide in zip(scale or (None, None), written, strict=True)
        )
        rounding = Rounding.of(values, lambda value: Decimal(repr(space.number(space.place(value)))))
        return cls(space, (low_end, high_end), rounding.rmse, rounding)

    def facts(self) -> dict[str, Any]:
        """Return what is written, and what rounding to it loses, as plain JSON data; with a remark where that is much."""
        facts: dict[str, Any] = {"format": self.space.format, "low": self.low, "high": self.high, "numbers": self.size}
        if isinstance(self.space, ScientificSpace):
            facts["significant_digits"] = self.space.digits
        else:
            facts["step"] = self.step
        facts["rounding_rmse"] = self.rounding_rmse
        if self.rounding is not None:
            facts["rounding_share"] = self.rounding.share
            if not self.rounding.is_good:
                facts["remark"] = _remark(self.rounding)
        return facts

    @property
    def size(self) -> int:
        """Number of legal answers."""
        return self.space.size

    def value_at(self, index: int) -> float:
        return self.space.number(self.space.low + index)

    def answers(self) -> Iterator[float]:
        """Yield every number of the grid, ascending."""
        return map(self.value_at, range(self.size))

    @cached_property
    def grid(self) -> npt.NDArray[np.float64]:
        """Every number of the grid, ascending, as one array."""
        return self.space.numbers(np.arange(self.space.low, self.space.high + 1))

    def nearest(self, value: float) -> float:
        """Number of the grid that is closest to any finite `value`, inside the range or not."""
        return self.space.number(self.space.nearest(to_decimal(value)))

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
        return (*self.space.write(self.space.nearest(value)), self.space.stop)

    def decode(self, ids: Sequence[int]) -> Decoded:
        index = self.space.answer_at(self._walk(ids)[-1])
        if index is None:
            raise CodecError(f"tokens {tuple(ids)} end inside a number: it has {self.space.length} content tokens.")
        return Decoded(self.value_at(index))

    def text(self, ids: Sequence[int]) -> str:
        """Return the characters that content tokens spell, without the separator; CodecError where they are illegal."""
        self._walk(ids)
        return "".join(self._texts[token] for token in ids[len(self.space.separator) :])

    def parse(self, text: str) -> float | None:
        """Read one plain number (sign, digits, point and digits, with blanks around it); None for all else.

        A codec of scientific format reads its own spelling, too.
        """
        if match := _PLAIN.fullmatch(text):
            return read_decimal(match[2], match[3] or "", match[1])
        if isinstance(self.space, ScientificSpace) and (match := _SCIENTIFIC.fullmatch(text)):
            number = float(f"{match[1]}{match[3]}.{match[4] or 0}e{match[2]}")
            return number + 0.0 if math.isfinite(number) else None
        return None

    def weighed_positions(self, ids: Sequence[int]) -> tuple[bool, ...]:
        if not ids or ids[-1] != self.space.stop:
            raise CodecError(
                f"answer {tuple(ids)} must end with the stop token {self.space.stop}. Pass what `encode` returns."
            )
        self.decode(ids[:-1])
        states = self._walk(ids[:-1])[:-1]
        return (*(not self.space.is_forced(state) for state in states), False)

    def _walk(self, ids: Sequence[int]) -> list[Hashable]:
        """States before each token and after the last."""
        states: list[Hashable] = [self.space.start]
        for token in ids:
            states.append(self.space.advance(states[-1], token))
        return states

    def to_dict(self) -> dict[str, Any]:
        return {
            "codec": self.name,
            **self.space.to_dict(),
            "scale": list(self.scale),
            "rounding_rmse": self.rounding_rmse,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "NumberCodec":
        is_scientific = data.get("format") == "scientific"  # version 0.1 had one format, and named none
        saved: NumberData | ScientificData = typed(
            ScientificData if is_scientific else NumberData,
            dict(data),
            "saved number codec is damaged",
            error=CodecError,
            repair=DAMAGED,
        )
        rest = saved.characters, saved.separator, saved.stop
        space: NumberGrid
        if isinstance(saved, ScientificData):
            space = ScientificSpace(saved.low, saved.high, saved.digits, saved.exponent, *rest)
        else:
            space = NumberSpace(saved.low, saved.high, saved.decimals, *rest)
        return cls(space, saved.scale, saved.rounding_rmse)


def _remark(rounding: Rounding) -> str:
    """What a user should know of targets that are rounded badly."""
    lost = (
        f"{rounding.share:.2g} standard deviations of all targets, {rounding.bulk_share:.2g} of their middle half's own"
    )
    return (
        f"rounding the targets to what can be written loses {lost} (root mean square). Leave out `decimals`, or give"
        " `number_format` 'scientific'."
    )


def _check_format(number_format: str, decimals: int | None) -> None:
    """Refuse what is no format, and decimals that are none, or are given to a format that has none."""
    if number_format not in FORMATS:
        raise CodecError(
            f"`number_format` is {number_format!r}.{near_matches(number_format, FORMATS)} Allowed: {', '.join(FORMATS)}."
        )
    if decimals is None:
        return
    if isinstance(decimals, bool) or not isinstance(decimals, int) or not 0 <= decimals <= MAX_DIGITS:
        raise CodecError(
            f"`decimals` is {decimals!r}, but must be a whole number 0..{MAX_DIGITS}, or None to choose it."
        )
    if number_format == "scientific":
        raise CodecError(
            f"`decimals` is {decimals}, but `number_format` 'scientific' has significant digits instead. Leave one of them out."
        )


def _fixed_bounds(
    values: Sequence[Decimal], ends: tuple[Decimal | None, Decimal | None], decimals: int
) -> tuple[int, int]:
    """Grid integers between declared ends, or those of the targets, widened."""
    (least, most), (low, high) = ends, widened_bounds(values, decimals)
    return (
        low if least is None else to_grid(least, decimals, ROUND_CEILING),
        high if most is None else to_grid(most, decimals, ROUND_FLOOR),
    )


def _scientific(
    values: Sequence[Decimal],
    ends: tuple[Decimal | None, Decimal | None],
    tokenizer: "PreTrainedTokenizerBase",
    turn: Turn,
) -> ScientificSpace:
    """Numbers of significant digits, between declared ends, or those of the targets, widened."""
    least, most = ends
    widened = widened_range(values)
    low, high = widened[0] if least is None else least, widened[1] if most is None else most
    exponent = lowest_exponent(values, low, high)
    digits = choose_digits(values, exponent)
    # A declared end is not passed, an undeclared one is made wider.
    first = place_of(low, digits, exponent, ROUND_FLOOR if least is None else ROUND_CEILING)
    last = place_of(high, digits, exponent, ROUND_CEILING if most is None else ROUND_FLOOR)
    characters = char_ids(tokenizer, needed_characters(first, exponent))
    return ScientificSpace(
        first, last, digits, exponent, characters, separator_ids(tokenizer, turn), stop_id(tokenizer, turn)
    )


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

"""Numbers with significant digits and an exponent: their automaton, their counting, and when they are chosen."""

import csv
import itertools
import json
import math
import statistics
from collections.abc import Hashable
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predgen.codecs.number import NumberCodec
from predgen.codecs.scientific_space import ScientificSpace
from predgen.codecs.significant import MAX_FIXED_NUMBERS, place_of, rounded_to
from predgen.core import Target
from predgen.errors import CodecError
from tokenizers_for_tests import char_level, every_tokenizer, gpt2_like

CHARACTERS = {character: 10 + index for index, character in enumerate("0123456789.+-e")}
STOP = 0
CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"

# low, count of numbers, significant digits, lowest exponent, separator
spaces = st.tuples(
    st.integers(-1200, 1200),
    st.integers(1, 1500),
    st.integers(1, 3),
    st.integers(-12, 3),
    st.sampled_from([(), (5,), (10, 10)]),
)


def make_space(drawn: tuple[int, int, int, int, tuple[int, ...]]) -> ScientificSpace:
    low, more, digits, exponent, separator = drawn
    return ScientificSpace(low, low + more, digits, exponent, CHARACTERS, separator, STOP)


def fit(values: list[float], number_format: str = "scientific", **named: object) -> NumberCodec:
    return NumberCodec.fit(values, char_level(), number_format=number_format, **named)


def spelled(codec: NumberCodec, value: float) -> str:
    return codec.text(codec.encode(Target(value))[:-1])


def by_hand(text: str) -> Decimal:
    """A written number, read by plain means: sign, "e", exponent, ".", digits."""
    sign, _, rest = text.partition("e")
    exponent, _, digits = rest.partition(".")
    return Decimal(f"{sign}{digits[0]}.{digits[1:] or 0}e{exponent}")


def prefixes(space: ScientificSpace) -> dict[tuple[int, ...], Hashable]:
    """Every legal prefix, found through `legal` and `advance` alone, and its state."""
    found: dict[tuple[int, ...], Hashable] = {(): space.start}
    stack: list[tuple[int, ...]] = [()]
    while stack:
        prefix = stack.pop()
        for token in space.legal(found[prefix]):
            if token != space.stop:
                found[(*prefix, token)] = space.advance(found[prefix], token)
                stack.append((*prefix, token))
    return found


@given(spaces)
@settings(max_examples=20, deadline=None)
def test_the_automaton_is_the_set_of_spelled_numbers(drawn: tuple[int, int, int, int, tuple[int, ...]]) -> None:
    space = make_space(drawn)
    below: dict[tuple[int, ...], list[int]] = {}
    for k in range(space.low, space.high + 1):
        written = space.write(k)
        for length in range(len(written) + 1):
            below.setdefault(written[:length], []).append(k)
    states = prefixes(space)
    assert states.keys() == below.keys()
    for prefix, state in states.items():
        numbers = below[prefix]
        assert space.range_of(state) == (numbers[0], numbers[-1])
        assert len(numbers) == numbers[-1] - numbers[0] + 1  # without a gap
        is_whole = len(prefix) == space.length
        assert len(numbers) == 1 or not is_whole  # one spelling per number
        assert space.answer_at(state) == (numbers[0] - space.low if is_whole else None)
        assert len(space.legal(state)) <= 10
    assert len({*states.values()}) == len(states)  # one state per prefix


@given(spaces)
@settings(max_examples=20, deadline=None)
def test_numbers_ascend_and_are_what_is_spelled(drawn: tuple[int, int, int, int, tuple[int, ...]]) -> None:
    space = make_space(drawn)
    texts = {token: character for character, token in CHARACTERS.items()}
    written = [
        "".join(texts[t] for t in space.write(k)[len(space.separator) :]) for k in range(space.low, space.high + 1)
    ]
    values = [space.number(k) for k in range(space.low, space.high + 1)]
    assert values == [float(by_hand(text)) for text in written]
    assert all(a < b for a, b in itertools.pairwise(values))
    assert space.numbers(np.arange(space.low, space.high + 1)).tolist() == values
    assert all(math.copysign(1, value) == 1 for value in values if value == 0)
    assert max(sum(len(space.legal(s)) > 1 for s in walk(space, k)) for k in (space.low, space.high)) <= space.levels


def walk(space: ScientificSpace, k: int) -> list[Hashable]:
    """States on the way to a number."""
    return list(itertools.accumulate(space.write(k), space.advance, initial=space.start))


@given(st.floats(-1e300, 1e300, allow_subnormal=False), st.integers(1, 15), st.integers(-300, 290))
@settings(max_examples=150, deadline=None)
def test_rounding_is_that_of_the_decimal_notation(value: float, digits: int, exponent: int) -> None:
    exact = Decimal(repr(value))
    unit = Decimal(1).scaleb(max(exact.adjusted(), exponent) - digits + 1)
    assert rounded_to(exact, digits, exponent) == (exact / unit).to_integral_value() * unit
    down, near, up = (place_of(exact, digits, exponent, how) for how in (ROUND_FLOOR, "ROUND_HALF_EVEN", ROUND_CEILING))
    assert down <= near <= up <= down + 1


targets = st.lists(
    st.builds(lambda m, e: float(f"{m}e{e}"), st.integers(-9999, 9999), st.integers(-12, 9)), min_size=2, max_size=12
).filter(lambda values: len({*values}) > 1)


@given(targets)
@settings(max_examples=60, deadline=None)
def test_targets_round_trip_within_half_a_percent(values: list[float]) -> None:
    codec = fit(values)
    loaded = NumberCodec.from_dict(json.loads(json.dumps(codec.to_dict())))
    assert loaded.to_dict() == codec.to_dict()
    floor = 10.0 ** (codec.space.exponent - codec.space.digits + 1) / 2  # in the lowest decade
    for value in values:
        *content, stop = codec.encode(Target(value))
        assert (stop, len(content) + 1) == (STOP + char_level().eos_token_id, codec.max_tokens)
        back = loaded.decode(content).value
        assert abs(back - value) <= max(0.005 * abs(value), floor) * (1 + 1e-9)
        assert back == codec.nearest(value) == codec.parse(codec.text(content))
        assert codec.encode(Target(back)) == (*content, stop)
    assert codec.low <= min(values) <= max(values) <= codec.high
    assert min(values) < 0 or codec.low >= 0
    assert 3 <= codec.space.digits
    ordered = sorted(values)
    written = [codec.nearest(value) for value in ordered]
    assert written == sorted(written)  # rounding keeps the order


@pytest.mark.parametrize("name", sorted(every_tokenizer()))
@pytest.mark.parametrize(
    ("values", "value", "text"),
    [
        ([3.99, 12999.0, 250.0], 12999.0, "e4.130"),
        ([3.99, 12999.0, 250.0], 3.99, "e0.399"),
        ([3.99, 12999.0, 250.0], 0.5, "e0.050"),  # below the least target: on the grid of the lowest decade
        ([3.99, 12999.0, 250.0], 0.0, "e0.000"),
        ([-2.5e-7, 1e-3, 0.5], -2.5e-7, "-e-7.250"),
        ([-2.5e-7, 1e-3, 0.5], 0.5, "+e-1.500"),
        ([-2.5e-7, 1e-3, 0.5], 0.0, "+e-7.000"),
        ([1e-12, 1.0], 1e-12, "e-12.100"),
        ([1e-12, 1.0], 1.0, "e+00.100"),
        ([100.0, 1.4e9], 1.4e9, "e9.140"),
        ([999.6, 1.0], 999.6, "e3.100"),  # rounded up into the next decade
    ],
)
def test_numbers_are_written_so(name: str, values: list[float], value: float, text: str) -> None:
    tokenizer = every_tokenizer()[name]
    codec = NumberCodec.fit(values, tokenizer, number_format="scientific")
    *content, stop = codec.encode(Target(value))
    prompt = tokenizer.encode("Price:", add_special_tokens=False)
    assert tokenizer.decode(prompt + content) == f"Price: {text}"
    assert stop == tokenizer.eos_token_id
    assert codec.decode(content).value == pytest.approx(value, rel=0.005, abs=0)


PRICES = [round(3.99 * (12999 / 3.99) ** (i / 499), 2) for i in range(500)]
RATINGS = [round(5 * (i * 37 % 100) / 99, 2) for i in range(100)]


@pytest.mark.parametrize(
    ("values", "number_format"),
    [
        (RATINGS, "fixed"),
        ([*RATINGS, 1e7], "scientific"),  # a grid of ten million
        ([*RATINGS, 1000.0], "scientific"),  # a grid of a thousand whole numbers, which leaves six of a hundred ratings
        (PRICES, "scientific"),
        ([price for price in PRICES if price < 1000], "fixed"),
        ([1e-6 + 8e-6 * i / 199 for i in range(200)], "scientific"),
        ([0.001 * i for i in range(200)], "fixed"),
        ([1.7e9 + 60.0 * i for i in range(10)], "fixed"),
        ([1.7e9 + 3600.0 * i for i in range(10)], "scientific"),
        (
            [0.0] * 60 + [float(i) for i in range(1, 40)],
            "fixed",
        ),  # the middle half is one number: nothing to tell apart
    ],
)
def test_auto_takes_significant_digits_where_the_grid_is_large_or_rounds_badly(
    values: list[float], number_format: str
) -> None:
    codec = fit(values, "auto")
    assert codec.space.format == number_format
    if number_format == "fixed":
        assert codec.to_dict() == fit(values, "fixed").to_dict()
        assert codec.size <= MAX_FIXED_NUMBERS
    assert codec.rounding_rmse < 0.01 * statistics.pstdev(values)


def test_decimals_ask_for_the_fixed_format() -> None:
    assert fit(PRICES, "auto", decimals=2).space.format == "fixed"
    with pytest.raises(CodecError, match=r"`decimals` is 2.*scientific"):
        fit(PRICES, decimals=2)
    with pytest.raises(CodecError, match=r"`number_format` is 'sientific'.*scientific"):
        fit(PRICES, "sientific")


def test_answers_for_millionths_are_within_a_hundredth_of_a_standard_deviation() -> None:
    values = [1e-6 + 8e-6 * i / 199 for i in range(200)]
    codec = NumberCodec.fit(values, gpt2_like())
    written = [codec.nearest(value) for value in values]
    assert max(abs(a - b) for a, b in zip(written, values, strict=True)) < 0.01 * statistics.pstdev(values)
    assert len({*written}) == 200


def test_an_outlier_leaves_the_other_answers_apart() -> None:
    ratings = [0.0137 + i * 0.0631 for i in range(79)]
    codec = NumberCodec.fit([*ratings, 1e7], gpt2_like())
    assert len({codec.nearest(value) for value in [*ratings, 1e7]}) == 80
    assert max(abs(codec.nearest(value) - value) for value in ratings) < 0.01 * statistics.pstdev(ratings)


def test_one_digit_more_tells_recorded_targets_apart_but_no_noise_is_written() -> None:
    recorded = [6.370e-6, 6.371e-6, 2.7e-8]
    assert (fit(recorded).space.digits, fit(recorded).rounding_rmse) == (4, 0.0)
    assert fit([6.37012345e-6, 6.37012399e-6, 2.7e-8]).space.digits == 3


def test_float_noise_beside_large_numbers_adds_no_decades() -> None:
    codec = fit([5.551115123125783e-17, 1.0, 3.0, 5.0])
    assert codec.space.exponent == -15
    assert [spelled(codec, value) for value in (0.0, 5.551115123125783e-17)] == ["e-15.000", "e-15.006"]


@pytest.mark.parametrize("scale", [(0.0, 100000.0), (50.0, 99950.0)])
def test_a_declared_range_is_kept(scale: tuple[float, float]) -> None:
    codec = fit([100.0, 2000.0, 77.0], scale=scale)
    assert (codec.low, codec.high) == (scale[0], 99900.0 if scale[0] else 100000.0)
    assert codec.scale == scale
    assert codec.nearest(1e9) == codec.high


def test_numbers_of_any_size_can_be_written() -> None:
    codec = fit([5e299, 1e300, -2e-300])
    assert [codec.nearest(value) for value in (1e300, 5e299)] == [1e300, 5e299]
    with pytest.raises(CodecError, match=r"10\^308.*Rescale"):
        fit([1e307, 1.7e308])


def test_parse_reads_its_own_spelling_and_plain_numbers() -> None:
    codec = fit([3.99, 12999.0, 250.0])
    read = {
        "e4.123": 12300.0,
        " -e-4.210\n": -0.00021,
        "12.5": 12.5,
        "e4": None,
        "4.1e3": None,
        "e.3": None,
        "e999.1": None,
    }
    assert {text: codec.parse(text) for text in read} == read


def test_only_the_scientific_format_reads_exponents() -> None:
    assert fit([0.0, 5.0], "fixed").parse("e4.123") is None


def test_damaged_data_is_an_error() -> None:
    data = fit([3.99, 12999.0, 250.0]).to_dict()
    for name in ("low", "high", "digits", "exponent", "characters", "separator", "stop"):
        with pytest.raises(CodecError, match=f"saved number codec is damaged.*{name}"):
            NumberCodec.from_dict({key: value for key, value in data.items() if key != name})
    with pytest.raises(CodecError, match="a token of its own"):
        NumberCodec.from_dict({**data, "characters": {**data["characters"], "e": data["characters"]["1"]}})
    with pytest.raises(CodecError, match="digits"):
        NumberCodec.from_dict({**data, "digits": 16})


def case(name: str, column: str) -> list[float]:
    with (CASES / name).open(encoding="utf-8") as file:
        return [float(row[column]) for row in csv.DictReader(file)]


@pytest.mark.skipif(not CASES.is_dir(), reason="the small inputs are not here")
@pytest.mark.parametrize("name", ["micro_targets.csv", "outlier_target.csv"])
def test_small_inputs_get_an_answer_per_target(name: str) -> None:
    values = case(name, "score")
    codec = NumberCodec.fit(values, gpt2_like())
    assert len({codec.nearest(value) for value in values}) == len({*values}) == 80
    assert max(abs(codec.nearest(value) - value) for value in values) <= 0.01 * statistics.pstdev(values)

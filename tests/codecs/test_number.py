import functools
import itertools
import json
import math
import random
import statistics
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from predgen.codecs.base import Codec, FiniteCodec, FiniteSpace
from predgen.codecs.number import NumberCodec, NumberSpace
from predgen.codecs.number_space import NumberState
from predgen.codecs.trie import Trie
from predgen.core import Target
from predgen.errors import CodecError
from predgen.registries import codecs
from tokenizers_for_tests import char_level, every_tokenizer, gpt2_like, without_digits, word_level

CHARACTERS = {character: 10 + index for index, character in enumerate("0123456789.+-")}
STOP = 0
grids = st.tuples(
    st.integers(-1500, 1500), st.integers(1, 2500), st.integers(0, 3), st.sampled_from([(), (5,), (10, 10)])
)


def make_space(grid: tuple[int, int, int, tuple[int, ...]]) -> NumberSpace:
    low, span, decimals, separator = grid
    return NumberSpace(low, low + span, decimals, CHARACTERS, separator, STOP)


def make_codec(low: int, high: int, decimals: int) -> NumberCodec:
    space = NumberSpace(low, high, decimals, CHARACTERS, (5,), STOP)
    return NumberCodec(space, (low / 10**decimals, high / 10**decimals), 0.0)


def all_paths(space: NumberSpace) -> list[tuple[int, ...]]:
    """Every legal answer, found through `legal` and `advance` alone."""
    found, open_paths = [], [((), space.start)]
    while open_paths:
        path, state = open_paths.pop()
        for token in space.legal(state):
            if token == space.stop:
                found.append(path)
            else:
                open_paths.append(((*path, token), space.advance(state, token)))
    return found


def reload(codec: Codec) -> Codec:
    return type(codec).from_dict(json.loads(json.dumps(codec.to_dict())))


@given(grids)
@settings(max_examples=40, deadline=None)
def test_space_holds_every_number_of_the_grid_once_and_nothing_else(
    grid: tuple[int, int, int, tuple[int, ...]],
) -> None:
    space = make_space(grid)
    paths = all_paths(space)
    assert sorted(paths) == sorted(space.write(k) for k in range(space.low, space.high + 1))
    assert len({*paths}) == len(paths) == space.size
    assert {len(path) for path in paths} == {space.length}


@given(grids)
@settings(max_examples=20, deadline=None)
def test_lazy_space_equals_the_trie_of_its_answers(grid: tuple[int, int, int, tuple[int, ...]]) -> None:
    space = make_space(grid)
    trie = Trie([space.write(k) for k in range(space.low, space.high + 1)], STOP)
    states = {0: space.start}
    for node in range(len(trie)):
        if node:
            states[node] = space.advance(states[trie.parents[node]], trie.tokens[node])
        assert space.legal(states[node]) == trie.legal(node)
        assert space.is_forced(states[node]) == trie.is_forced(node)
    assert len({*states.values()}) == len(trie)  # one state per prefix


def states_of(space: NumberSpace) -> dict[tuple[int, ...], NumberState]:
    """Every legal prefix and the state it leads to."""
    found, stack = {(): space.start}, [()]
    while stack:
        prefix = stack.pop()
        for token in space.legal(found[prefix]):
            if token != space.stop:
                found[(*prefix, token)] = space.advance(found[prefix], token)
                stack.append((*prefix, token))
    return found


@given(grids)
@settings(max_examples=30, deadline=None)
def test_ranges_and_indices_are_those_of_the_numbers_that_begin_so(grid: tuple[int, int, int, tuple[int, ...]]) -> None:
    space = make_space(grid)
    below: dict[tuple[int, ...], list[int]] = {}
    for k in range(space.low, space.high + 1):
        written = space.write(k)
        for length in range(len(written) + 1):
            below.setdefault(written[:length], []).append(k)
    states = states_of(space)
    assert states.keys() == below.keys()
    for prefix, state in states.items():
        numbers = below[prefix]
        assert space.range_of(state) == (min(numbers), max(numbers))
        assert max(numbers) - min(numbers) + 1 == len(numbers)  # without a gap
        is_whole = len(prefix) == space.length
        assert space.answer_at(state) == (numbers[0] - space.low if is_whole else None)


@given(grids)
@settings(max_examples=10, deadline=None)
def test_indices_values_and_grid_agree(grid: tuple[int, int, int, tuple[int, ...]]) -> None:
    low, span, decimals, _ = grid
    codec = make_codec(low, low + span, decimals)
    assert codec.grid.shape == (codec.size,) == (codec.space.size,) == (span + 1,)
    assert codec.grid.dtype == np.float64
    for index in range(codec.size):
        value = codec.value_at(index)
        assert value == codec.grid[index] == float(f"{Decimal(low + index).scaleb(-decimals):f}")
        assert math.copysign(1, value) == (-1 if low + index < 0 else 1)  # no -0.0
        state = functools.reduce(codec.space.advance, codec.encode(Target(value))[:-1], codec.space.start)
        assert codec.space.answer_at(state) == index


def test_numbers_can_be_counted() -> None:
    codec = make_codec(-15, 15, 1)
    assert isinstance(codec, FiniteCodec)
    assert isinstance(codec.space, FiniteSpace)
    assert codec.space.size == 31


def test_zero_has_one_index_and_one_sign() -> None:
    codec = make_codec(-15, 15, 1)
    assert (codec.value_at(15), math.copysign(1, codec.value_at(15))) == (0.0, 1.0)
    assert codec.encode(Target(-0.0)) == codec.encode(Target(0.0))
    negative_zero = functools.reduce(codec.space.advance, (5, CHARACTERS["-"], CHARACTERS["0"]), codec.space.start)
    assert codec.space.range_of(negative_zero) == (-9, -1)  # "-0": -0.9 .. -0.1, without zero
    positive_zero = functools.reduce(codec.space.advance, (5, CHARACTERS["+"], CHARACTERS["0"]), codec.space.start)
    assert codec.space.range_of(positive_zero) == (0, 9)


@given(st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_ranges_in_a_grid_of_billions_nest_down_to_the_number(seed: int) -> None:
    codec = NumberCodec.fit([0.0, 1e6], char_level(), scale=(-2e6, 1e6), decimals=3)
    rng = random.Random(seed)
    k = rng.choice([codec.space.low, -1, 0, 1, codec.space.high, rng.randint(codec.space.low, codec.space.high)])
    state, before = codec.space.start, (codec.space.low, codec.space.high)
    for token in codec.space.write(k):
        lowest, highest = codec.space.range_of(state)
        assert before[0] <= lowest <= k <= highest <= before[1]
        state, before = codec.space.advance(state, token), (lowest, highest)
    assert codec.space.range_of(state) == (k, k)
    assert codec.space.answer_at(state) == k - codec.space.low
    assert codec.value_at(k - codec.space.low) == k / 1000


@given(grids, st.floats(0, 1))
@settings(deadline=None)
def test_values_round_trip_to_the_nearest_number(grid: tuple[int, int, int, tuple[int, ...]], share: float) -> None:
    low, span, decimals, _ = grid
    codec = make_codec(low, low + span, decimals)
    value = min(codec.low + share * (codec.high - codec.low), codec.high)
    *content, stop = codec.encode(Target(value))
    decoded = codec.decode(content).value
    assert stop == STOP
    assert abs(decoded - value) <= codec.step / 2 + 1e-9
    assert decoded == codec.nearest(value) == float(codec.text(content)) == codec.parse(codec.text(content))
    assert codec.encode(Target(decoded)) == (*content, stop)  # written numbers are written again as they are
    assert reload(codec).encode(Target(value)) == (*content, stop)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.none() | st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_undeclared_range_holds_the_targets(values: list[float], decimals: int | None) -> None:
    codec = NumberCodec.fit(values, gpt2_like(), decimals=decimals, number_format="fixed")
    loaded = reload(codec)
    assert loaded.to_dict() == codec.to_dict()
    span = max(values) - min(values)
    lowest, highest = min(values) - 0.05 * span, max(values) + 0.05 * span
    assert codec.low <= (max(0.0, lowest) if min(values) >= 0 else lowest) + 1e-6
    assert codec.high >= (min(0.0, highest) if max(values) <= 0 and min(values) < 0 else highest) - 1e-6
    assert min(values) < 0 or codec.low >= 0
    assert codec.low >= min(values) - max(0.05 * span, 0.05 * abs(values[0]), codec.step) - codec.step
    for value in values:
        *content, _ = codec.encode(Target(value))
        assert abs(loaded.decode(content).value - value) <= codec.step / 2 * (1 + 1e-9)
        assert any(codec.weighed_positions((*content, STOP)))


@given(st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_random_walks_end_in_a_number_of_the_range(seed: int) -> None:
    codec = NumberCodec.fit([0.0, 1e6], char_level(), scale=(-20.0, 1e6), decimals=3)
    assert codec.size == 1_000_020_001  # not enumerated
    rng, state, content = random.Random(seed), codec.space.start, []
    while (token := rng.choice(codec.space.legal(state))) != codec.space.stop:
        content.append(token)
        state = codec.space.advance(state, token)
    assert len(content) + 1 == codec.max_tokens
    value = codec.decode(content).value
    assert codec.low <= value <= codec.high
    assert codec.encode(Target(value))[:-1] == tuple(content)


@pytest.mark.parametrize("name", sorted(every_tokenizer()))
@pytest.mark.parametrize(
    ("scale", "decimals", "value", "text"),
    [
        ((0.0, 5.0), 2, 3.8, "3.80"),
        ((0.0, 5.0), 2, 3.799999952316284, "3.80"),  # a float32 3.8
        ((0.0, 12.0), 1, 9.5, "09.5"),
        ((-1.5, 12.0), 1, 9.5, "+09.5"),
        ((-1.5, 12.0), 1, -0.04, "+00.0"),
        ((-1.5, 12.0), 1, -0.0, "+00.0"),
        ((-1.5, 12.0), 1, -1.5, "-01.5"),
        ((-20.0, -10.0), 0, -12.0, "-12"),
        ((0.0, 100.0), 0, 7, "007"),
        ((0.0, 1.0), 3, 0.0, "0.000"),
        ((0.0, 1.0), 3, 1.0, "1.000"),
        ((1.0, 5.0), 1, 4.25, "4.2"),  # ties go to the even digit
    ],
)
def test_numbers_are_written_so(name: str, scale: tuple[float, float], decimals: int, value: float, text: str) -> None:
    tokenizer = every_tokenizer()[name]
    codec = NumberCodec.fit([scale[0]], tokenizer, scale=scale, decimals=decimals)
    *content, stop = codec.encode(Target(value))
    prompt = tokenizer.encode("Score:", add_special_tokens=False)
    assert tokenizer.decode(prompt + content) == f"Score: {text}"
    assert stop == tokenizer.eos_token_id
    assert codec.text(content) == text
    assert codec.decode(content).value == float(text)
    assert math.copysign(1, codec.decode(content).value) == (-1 if text.startswith("-") else 1)
    assert len(content) + 1 == codec.max_tokens


def test_codec_is_in_the_registry() -> None:
    assert codecs.get("number") is NumberCodec


def test_no_separator_where_the_tokenizer_has_none() -> None:
    codec = NumberCodec.fit([1.0], word_level(), scale=(0.0, 5.0), decimals=1)
    assert word_level().convert_ids_to_tokens(list(codec.encode(Target(2.5)))) == ["2", ".", "5", "<eos>"]


@pytest.mark.parametrize(
    ("values", "decimals", "rmse"),
    [
        ([1.0, 2.0, 3.0], 0, 0.0),
        # To whole numbers: errors 0, 0, 0.5, 0 (2.5 -> 2), RMSE 0.25 against std 1.1; one decimal is exact.
        ([1.0, 2.0, 2.5, 4.0], 1, 0.0),
        # 1000.4: error 0.4 / sqrt(3) = 0.23, under 1 % of the std, 408.
        ([0.0, 500.0, 1000.4], 0, 0.4 / math.sqrt(3)),
        ([0.001, 0.0011, 0.0012], 3, math.sqrt((0.0001**2 + 0.0002**2) / 3)),  # none is good enough: 3
        ([2.5, 2.5], 1, 0.0),  # std 0: what is exact is enough
        ([1e300, 1e300], 0, 0.0),
    ],
)
def test_fewest_decimals_that_round_well(values: list[float], decimals: int, rmse: float) -> None:
    if values[0] > 1e15:
        with pytest.raises(CodecError, match="at most 15"):
            NumberCodec.fit(values, char_level(), number_format="fixed")
        return
    codec = NumberCodec.fit(values, char_level(), number_format="fixed")
    assert codec.decimals == decimals
    assert codec.rounding_rmse == pytest.approx(rmse, abs=1e-12)


@given(st.lists(st.floats(0, 10), min_size=2, max_size=30))
@settings(max_examples=50, deadline=None)
def test_decimals_rule_against_a_plain_loop(values: list[float]) -> None:
    def rmse(places: int) -> float:
        return math.sqrt(statistics.fmean((round(value, places) - value) ** 2 for value in values))

    limit = 0.01 * statistics.pstdev(values)
    assume(all(abs(rmse(places) - limit) > 1e-12 for places in range(4)))
    expected = next((places for places in range(4) if rmse(places) < limit), 3)
    codec = NumberCodec.fit(values, char_level(), scale=(0.0, 10.0), number_format="fixed")
    assert codec.decimals == expected
    assert codec.rounding_rmse == pytest.approx(rmse(expected), abs=1e-9)


def test_undeclared_range_is_widened_on_both_sides() -> None:
    codec = NumberCodec.fit([2.0, 12.0], char_level(), scale=None, decimals=1)
    assert (codec.low, codec.high, codec.step) == (1.5, 12.5, 0.1)
    assert codec.scale == (1.5, 12.5)
    constant = NumberCodec.fit([0.0, 0.0], char_level(), scale=None, decimals=2)
    assert (constant.low, constant.high) == (0.0, 0.01)


@pytest.mark.parametrize(
    ("targets", "low", "high"),
    [
        ([0.0, 100.0], 0.0, 105.0),
        ([0.0, 2319.0], 0.0, 2435.0),  # 0.05 * 2319 = 115.95
        ([-3.0, -1.0, 0.0], -4.0, 0.0),
        ([-3.0, -1.0], -4.0, 0.0),  # -0.9, rounded outward
        ([-1.0, 99.0], -6.0, 104.0),
    ],
)
def test_undeclared_range_does_not_cross_zero_where_no_target_does(
    targets: list[float], low: float, high: float
) -> None:
    codec = NumberCodec.fit(targets, char_level(), scale=None, decimals=0)
    assert (codec.low, codec.high) == (low, high)
    has_sign = char_level().convert_ids_to_tokens(codec.encode(Target(targets[0]))[1]) in "+-"
    assert has_sign == (low < 0)


@pytest.mark.parametrize(
    ("scale", "low", "high"), [((-1.0, None), -1.0, 12.5), ((None, 20.0), 1.5, 20.0), ((0.0, 13.0), 0.0, 13.0)]
)
def test_an_end_that_is_not_declared_is_widened(
    scale: tuple[float | None, float | None], low: float, high: float
) -> None:
    codec = NumberCodec.fit([2.0, 12.0], char_level(), scale=scale, decimals=1)
    assert (codec.low, codec.high) == codec.scale == (low, high)


def test_tolerance_of_a_range_follows_its_span_not_its_offset() -> None:
    codec = NumberCodec.fit([1.7e9, 1.7e9 + 50], char_level(), scale=(1.7e9, 1.7e9 + 50), decimals=0)
    with pytest.raises(CodecError, match=r"1700000150.*outside"):
        codec.encode(Target(1.7e9 + 150))


@pytest.mark.parametrize("bounds", [(0.1, 0.7), (1.1, 2.2), (-0.3, 0.3), (0.57, 1.13)])
def test_declared_bounds_on_the_grid_are_reached(bounds: tuple[float, float]) -> None:
    codec = NumberCodec.fit([bounds[0]], char_level(), scale=bounds, decimals=2)
    assert (codec.low, codec.high) == bounds
    assert [codec.decode(codec.encode(Target(bound))[:-1]).value for bound in bounds] == [*bounds]


def test_declared_bounds_off_the_grid_stay_outside_it() -> None:
    codec = NumberCodec.fit([1.0], char_level(), scale=(0.5, 3.9), decimals=0)
    assert (codec.low, codec.high) == (1.0, 3.0)
    assert codec.decode(codec.encode(Target(3.9))[:-1]).value == 3.0  # in the range: the nearest number of it
    assert list(codec.answers()) == [1.0, 2.0, 3.0]


def test_float32_noise_at_a_bound_is_not_outside() -> None:
    codec = NumberCodec.fit([0.699999988079071], char_level(), scale=(0.7, 1.0), decimals=1)
    assert codec.decode(codec.encode(Target(0.699999988079071))[:-1]).value == 0.7


def test_nearest_accepts_values_outside() -> None:
    codec = make_codec(0, 50, 1)
    assert [codec.nearest(value) for value in (-3.0, 2.34, 99.0)] == [0.0, 2.3, 5.0]


def test_answers_ascend() -> None:
    codec = make_codec(-3, 12, 1)
    values = list(codec.answers())
    assert len(values) == codec.size == 16
    assert all(a < b for a, b in itertools.pairwise(values))
    assert values[3] == 0.0
    assert math.copysign(1, values[3]) == 1


def test_weighed_positions_are_those_not_forced() -> None:
    codec = make_codec(0, 50, 1)  # " 0.0" .. " 5.0"
    assert codec.text(codec.encode(Target(3.2))[:-1]) == "3.2"
    assert codec.weighed_positions(codec.encode(Target(3.2))) == (False, True, False, True, False)
    # After "5." only "0" is left.
    assert codec.weighed_positions(codec.encode(Target(5.0))) == (False, True, False, False, False)
    signed = make_codec(-15, 120, 1)  # "-0" goes on with "0" or "1"; "-01." with 0..5
    assert signed.weighed_positions(signed.encode(Target(-1.5))) == (False, True, False, True, False, True, False)


@pytest.mark.parametrize(
    ("text", "value"),
    [("13.4", 13.4), (" +2\n", 2.0), ("-0.50", -0.5), ("007", 7.0), ("0", 0.0)]
    + [(text, None) for text in ("1,234", "1e5", "nan", "inf", "", " ", ".5", "5.", "1.2.3", "- 3", "3 4", "$3", "--3")]
    + [("\u0663", None), ("1" * 400, None), ("0x10", None), ("1_000", None), ("3.4 points", None)],
)
def test_parse_reads_plain_numbers_only(text: str, value: float | None) -> None:
    assert make_codec(0, 50, 1).parse(text) == value


def test_parse_reads_no_negative_zero() -> None:
    assert math.copysign(1, make_codec(0, 50, 1).parse("-0.0")) == 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5.2, r"value 5\.2 is outside the range 0\.0\.\.5\.0.*nearest"),
        (-0.1, r"value -0\.1 is outside"),
        (math.nan, "value is nan, but only finite"),
        (math.inf, "value is inf"),
        (-math.inf, "value is -inf"),
        ("3", "value is '3', but a number is needed"),
        (True, "value is True"),
    ],
)
def test_values_that_cannot_be_written_are_errors(value: float | str, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        make_codec(0, 50, 1).encode(Target(value))


@pytest.mark.parametrize(
    ("targets", "scale", "decimals", "message"),
    [
        ([], None, None, "`targets` is empty"),
        ([1.0, math.nan], None, None, "target 1 is nan"),
        ([1.0], (2.0, 1.0), None, r"2\.0\.\.1\.0.*`minimum`"),
        ([1.0], (1.0, 1.0), None, "`minimum` must be below `maximum`"),
        ([1.0], (0.0, math.inf), None, "`maximum` is inf"),
        ([1.0, 6.0], (0.0, 5.0), None, r"target 1 is 6\.0, outside .* 0\.0\.\.5\.0.*`maximum`"),
        ([1.0], (0.0, 5.0), -1, "`decimals` is -1"),
        ([1.0], (0.0, 5.0), 16, "`decimals` is 16"),
        ([1.0], (0.6, 1.4), 0, r"the range has 1 number.*Raise `decimals`"),
        ([0.3], (0.2, 0.4), 0, r"the range has 0 number"),
        ([1.0], (0.0, 1e14), 3, "18 digits, but at most 15"),
    ],
)
def test_bad_settings_are_errors(
    targets: list[float], scale: tuple[float, float] | None, decimals: int | None, message: str
) -> None:
    with pytest.raises(CodecError, match=message):
        NumberCodec.fit(targets, char_level(), scale=scale, decimals=decimals)


def test_tokenizer_without_digits_is_an_error() -> None:
    with pytest.raises(CodecError, match="cannot spell the character '0'"):
        NumberCodec.fit([1.0], without_digits(), scale=(0.0, 5.0), decimals=1)


def test_illegal_tokens_are_errors() -> None:
    codec = make_codec(0, 50, 1)
    content = codec.encode(Target(4.2))[:-1]
    with pytest.raises(CodecError, match="end inside a number: it has 4"):
        codec.decode(content[:-1])
    with pytest.raises(CodecError, match="token 99 is not legal after 1 tokens"):
        codec.decode((content[0], 99))
    with pytest.raises(CodecError, match="not legal after 4 tokens"):
        codec.decode((*content, 10))
    with pytest.raises(CodecError, match="not legal after 1 tokens"):
        codec.decode((5, CHARACTERS["6"], CHARACTERS["."], CHARACTERS["0"]))  # 6.0 > 5.0
    with pytest.raises(CodecError, match="must end with the stop token 0"):
        codec.weighed_positions(content)


def test_negative_zero_is_not_legal() -> None:
    codec = make_codec(-5, 5, 0)
    with pytest.raises(CodecError, match="not legal"):
        codec.decode([5, CHARACTERS["-"], CHARACTERS["0"]])


def test_damaged_data_is_an_error() -> None:
    data = make_codec(0, 50, 1).to_dict()
    for name in set(data) - {"codec"}:
        with pytest.raises(CodecError, match=f"saved number codec is damaged.*{name}"):
            NumberCodec.from_dict({key: value for key, value in data.items() if key != name})
    with pytest.raises(CodecError, match="a token of its own"):
        NumberCodec.from_dict(data | {"characters": {"1": 3}})

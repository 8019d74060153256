"""Means, medians, modes and quantiles of numbers with probabilities, against numpy and plain sums."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predgen.distribution import Distribution, check_levels
from predgen.errors import ConfigError

# Numbers with whole weights: their shares can be compared exactly.
weighted = st.lists(
    st.tuples(st.integers(-1000, 1000), st.integers(0, 9)), min_size=1, max_size=30, unique_by=lambda pair: pair[0]
).filter(lambda pairs: any(weight for _, weight in pairs))
levels = st.integers(0, 40).map(lambda n: Fraction(n, 40))


def distribution(pairs: list[tuple[int, int]]) -> tuple[Distribution, list[tuple[float, Fraction]]]:
    """A distribution over tenths, and the same as exact shares."""
    total = sum(weight for _, weight in pairs)
    shares = [(number / 10, Fraction(weight, total)) for number, weight in sorted(pairs)]
    support, probabilities = zip(*shares, strict=True)
    return Distribution(np.array(support), np.array([float(p) for p in probabilities])), shares


@given(weighted)
def test_mean_and_mode_equal_plain_sums(pairs: list[tuple[int, int]]) -> None:
    numbers, shares = distribution(pairs)
    exact = sum(share * Fraction(number) for number, share in shares)
    assert numbers.mean() == pytest.approx(float(exact), abs=1e-9)
    assert numbers.mean() == pytest.approx(np.average(numbers.support, weights=numbers.probabilities), abs=1e-9)
    highest = max(share for _, share in shares)
    assert numbers.mode() == min(number for number, share in shares if share == highest)


@given(weighted, levels)
def test_quantile_is_the_lowest_number_with_that_share_at_or_below_it(
    pairs: list[tuple[int, int]], level: Fraction
) -> None:
    numbers, shares = distribution(pairs)
    below = [(number, sum(share for other, share in shares if other <= number)) for number, _ in shares]
    assert numbers.quantile(float(level)) == min(number for number, share in below if share >= level)


@given(weighted)
def test_quantiles_equal_numpys_and_rise(pairs: list[tuple[int, int]]) -> None:
    numbers, _ = distribution(pairs)
    drawn = np.repeat([number / 10 for number, _ in sorted(pairs)], [weight for _, weight in sorted(pairs)])
    asked = np.linspace(0.01, 0.99, 25) + 1e-4  # beside the steps, where rounding decides
    found = [numbers.quantile(level) for level in asked]
    assert found == np.quantile(drawn, asked, method="inverted_cdf").tolist()
    assert found == sorted(found)
    assert numbers.median() == np.quantile(drawn, 0.5, method="inverted_cdf")


@given(weighted)
def test_median_loses_least_in_absolute_and_mean_in_squared_error(pairs: list[tuple[int, int]]) -> None:
    numbers, _ = distribution(pairs)

    def loss(point: float, power: int) -> float:
        return float(numbers.probabilities @ np.abs(numbers.support - point) ** power)

    others = [*numbers.support, *(numbers.support + 0.05)]
    assert all(loss(numbers.median(), 1) <= loss(other, 1) + 1e-9 for other in others)
    assert all(loss(numbers.mean(), 2) <= loss(other, 2) + 1e-9 for other in others)


def test_rounding_of_sums_moves_no_quantile() -> None:
    # Ten times 0.1 is 0.9999999999999999 when added up, and three times 0.1 is 0.30000000000000004.
    numbers = Distribution(np.arange(10.0), np.full(10, 0.1))
    assert [numbers.quantile(level) for level in (0.0, 0.1, 0.3, 0.5, 0.7, 1.0)] == [0.0, 0.0, 2.0, 4.0, 6.0, 9.0]


def test_sums_below_one_still_have_a_highest_number() -> None:
    assert Distribution(np.array([1.0, 2.0]), np.array([0.5, 0.5 - 1e-9])).quantile(1.0) == 2.0


@pytest.mark.parametrize("level", [-0.01, 1.01, 5.0, float("nan"), float("inf")])
def test_levels_outside_zero_to_one_are_refused(level: float) -> None:
    numbers = Distribution(np.array([1.0, 2.0]), np.array([0.5, 0.5]))
    with pytest.raises(ConfigError, match=rf"quantile level {level} is outside 0\.\.1; give shares such as 0\.05"):
        numbers.quantile(level)
    with pytest.raises(ConfigError, match="is outside"):
        check_levels([0.5, level])
    check_levels([0.0, 0.5, 1.0])

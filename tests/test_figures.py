"""Figures for people: no figure but 0 is ever written as 0."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predgen.figures import number, p_value


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0.00"),
        (0.85712, "0.857"),
        (12.345, "12.3"),
        (123.4, "123"),
        (1234.5, "1234"),
        (1e6, "1000000"),
        (2.89e18, "2.89e+18"),
        (-0.04, "-0.0400"),
        (1.3e-12, "1.30e-12"),
        (None, "not defined"),
        (math.nan, "not defined"),
    ],
)
def test_numbers_have_three_digits(value: float | None, written: str) -> None:
    assert number(value) == written


@given(st.floats(-1e300, 1e300), st.integers(2, 6))
def test_written_numbers_keep_their_digits(value: float, digits: int) -> None:
    assert float(number(value, digits)) == pytest.approx(value, rel=0.51 * 10 ** (1 - digits))


def test_small_p_values_are_bounds() -> None:
    assert [p_value(p) for p in (0.0009, 0.05, 1.0, None)] == ["< 0.001", "0.050", "1.000", "not defined"]

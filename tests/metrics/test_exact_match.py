"""Exact match of math answers."""

import math

import pytest

from predgen.metrics.exact_match import EXACT_MATCH


def test_difference_below_a_ten_thousandth_is_a_match() -> None:
    # |gaps| 0, 0.00009, 0.00011, 1: two of four
    assert EXACT_MATCH([1.0, 1.0, 1.0, 1.0], [1.0, 1.00009, 0.99989, 2.0]) == 0.5


def test_unparsed_answers_are_wrong() -> None:
    assert EXACT_MATCH([1.0, 2.0, 3.0], [1.0, None, float("nan")]) == pytest.approx(1 / 3)


def test_sign_counts() -> None:
    assert EXACT_MATCH([5.0], [-5.0]) == 0.0
    assert EXACT_MATCH([0.0], [-0.0]) == 1.0


def test_large_numbers_match_exactly() -> None:
    assert EXACT_MATCH([123456789.0], [123456789]) == 1.0


def test_no_rows_give_nan() -> None:
    assert math.isnan(EXACT_MATCH([], []))

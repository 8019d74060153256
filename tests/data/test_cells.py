"""Cells: what numbers and labels are, and what is said of all else."""

import datetime

import pytest

from predgen.data.cells import CellError, label_of, number_of


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("1,234.5", "commas"),
        ("3,5", "decimal comma"),
        ("1.234,5", "decimal comma"),
        ("45%", "percentage"),
        ("12.5 %", "percentage"),
        ("$3.99", "currency"),
        ("3,99 €", "currency"),
        ("12 EUR", "currency"),
        ("NA", "missing value"),
        ("n/a", "missing value"),
        ("-", "missing value"),
        ("2024-03-01", "date"),
        ("1.3.2024", "date"),
        ("2024-03-01T10:00", "date"),
        (datetime.date(2024, 3, 1), "date"),
        (datetime.datetime(2024, 3, 1, 10), "date"),
        ("three", "not a number"),
    ],
)
def test_what_is_almost_a_number_is_said_to_be_what_it_is(cell: object, reason: str) -> None:
    with pytest.raises(CellError, match=reason):
        number_of(cell)


@pytest.mark.parametrize(
    ("cell", "number"), [("-5", -5.0), ("+.5", 0.5), (" 1e-6 ", 1e-6), ("7.", 7.0), (True + 1, 2.0)]
)
def test_numbers_are_read_as_before(cell: object, number: float) -> None:
    assert number_of(cell) == number


@pytest.mark.parametrize("cell", ["NA", "N/A", "-", "none"])
def test_marks_for_missing_values_are_words_among_labels(cell: str) -> None:
    assert label_of(cell, {}) == cell

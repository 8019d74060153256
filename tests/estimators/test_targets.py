"""What `fit` gets beside `X`: labels in their own type, numbers, weights, and errors that name argument, row and lengths."""

import enum
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.class_weight import compute_sample_weight

from predgen.errors import ConfigError, DataError
from predgen.estimators.targets import class_weights, column_name, read_labels, read_numbers, row_weights


class Tone(enum.Enum):
    POOR = "poor"
    GOOD = "good"


class Grade(enum.IntEnum):
    LOW = 1
    HIGH = 2


@pytest.mark.parametrize(
    ("y", "classes", "texts"),
    [
        (["b", "a", "b"], ["a", "b"], ("a", "b")),
        ([10, 9, 10], [9, 10], ("9", "10")),
        ([True, False, True], [False, True], ("false", "true")),
        ([np.bool_(True), np.bool_(False)], [False, True], ("false", "true")),
        (np.array([2.0, 1.0]), [1.0, 2.0], ("1", "2")),
        (np.array(["b", "a"], dtype=object), ["a", "b"], ("a", "b")),
        (pd.Series(["b", "a"], dtype="category"), ["a", "b"], ("a", "b")),
        (pd.Series([3, 1], dtype="Int64"), [1, 3], ("1", "3")),
        (pd.Series([True, False], dtype="boolean"), [False, True], ("false", "true")),
        (pa.chunked_array([["b", "a"]]), ["a", "b"], ("a", "b")),
        ([Tone.GOOD, Tone.POOR], [Tone.POOR, Tone.GOOD], ("poor", "good")),
        ([Grade.HIGH, Grade.LOW], [Grade.LOW, Grade.HIGH], ("LOW", "HIGH")),
    ],
)
def test_labels_keep_their_values_and_types(y: Any, classes: list[Any], texts: tuple[str, ...]) -> None:
    found = read_labels(y, len(y))
    assert found.classes.tolist() == classes
    assert [type(label) for label in found.classes.tolist()] == [type(label) for label in classes]
    assert found.texts == texts
    assert found.classes[found.rows].tolist() == [classes[i] for i in found.rows]
    if isinstance(y, np.ndarray):
        assert found.classes.dtype == y.dtype
        assert (found.classes[found.rows] == y).all()


@pytest.mark.parametrize(
    ("y", "named"),
    [
        (None, "target y is None"),
        ("ab", "`y` is 'ab', of type str"),
        ({"a": 1}, "`y` is .*of type dict"),
        (5, "`y` is 5, of type int"),
        (["a", "b"], "`X` has 3 rows, but `y` has 2"),
        (["a", None, "b"], r"1 of 3 rows: row 2 is None \(missing\)"),
        (["a", "b", float("nan")], r"row 3 is nan \(missing\)"),
        (["a", "b", ""], "row 3 is ''"),
        (["a", {1}, "b"], r"row 2 is \{1\} .*of type set"),
        ([0.5, 1.5, 0.5], r"3 of 3 rows: row 1 is 0\.5 .*continuous"),
        ([1, "a", 2], "mixes whole numbers and text: row 1 is 1, row 2 is 'a'"),
        ([True, False, 1], "mixes true/false and whole numbers: row 1 is True, row 3 is 1"),
        ([Tone.GOOD, "good", Tone.POOR], "mixes members of Tone and text: .*row 2 is 'good'"),
        (["good", "bad", "good "], "'good' and 'good ', which are both written 'good'"),
        ([["a", "b"], ["a", "b"], ["a", "b"]], r"1d array, got an array of shape \(3, 2\)"),
        (np.array([1 + 1j, 2, 3]), "Complex data not supported: `y`"),
    ],
)
def test_bad_labels_are_named(y: Any, named: str) -> None:
    with pytest.raises(DataError, match=named):
        read_labels(y, 3)


@pytest.mark.parametrize(
    ("y", "named"),
    [
        ([1.0, float("nan"), float("inf")], r"2 of 3 rows: row 2 is nan \(missing\), row 3 is inf \(not finite\)"),
        ([1.0, 2.0], "`X` has 3 rows, but `y` has 2"),
        (["1", "two", "3"], r"row 2 is 'two' \(not a number\)"),
        ([1, None, 2], r"row 2 is None \(missing\)"),
        ([1, 2j, 2], "row 2 is 2j .*Complex"),
    ],
)
def test_bad_numbers_are_named(y: Any, named: str) -> None:
    with pytest.raises(DataError, match=named):
        read_numbers(y, 3)


def test_numbers_are_read_in_double_precision() -> None:
    stamps = [1.7e9 + 0.25, 1.7e9 + 0.5]
    assert read_numbers(np.array(stamps), 2) == stamps
    assert read_numbers(np.array([3.8, 1.1], dtype=np.float32), 2) == pytest.approx([3.8, 1.1], abs=1e-7)
    assert read_numbers(pa.chunked_array([[1, 2]]), 2) == [1.0, 2.0]
    assert read_numbers(np.array([True, False]), 2) == [1.0, 0.0]


@pytest.mark.parametrize("y", [[["a"], ["b"]], np.array([["a"], ["b"]]), pd.DataFrame({"tone": ["a", "b"]})])
def test_one_column_is_ravelled_with_a_warning(y: Any) -> None:
    with pytest.warns(DataConversionWarning, match="column-vector"):
        assert read_labels(y, 2).classes.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("weights", "named"),
    [
        ([1.0] * 4, "4 weights, but `X` has 3 rows"),
        ([1.0] * 2, "2 weights, but `X` has 3 rows"),
        (np.ones((3, 2)), r"shape \(3, 2\)"),
        (1.0, r"shape \(\)"),
        ([0.0] * 3, "all 3 weights .*zero"),
        ([1.0, -1.0, float("nan")], "2 negative or non-finite weights, the first in row 2: -1"),
        (["a", "b", "c"], "must hold numbers"),
    ],
)
def test_bad_weights_are_named(weights: Any, named: str) -> None:
    with pytest.raises(DataError, match=named):
        row_weights(weights, 3)


def test_class_weights_are_those_of_scikit_learn() -> None:
    y = ["a", "b", "a", "c"]
    labels = read_labels(y, 4)
    assert class_weights("balanced", labels).tolist() == compute_sample_weight("balanced", y).tolist()
    assert class_weights({"b": 3}, labels).tolist() == [1, 3, 1, 1]
    for wrong, named in (("balance", "'balance'; allowed"), ({"d": 1}, "label 'd', which `y` has not")):
        with pytest.raises(ConfigError, match=named):
            class_weights(wrong, labels)


@pytest.mark.parametrize(
    ("y", "name"),
    [
        (pd.Series([1], name="tone"), "tone"),
        (pd.Series([1]), None),
        (pd.Series([1], name=0), None),
        (pd.DataFrame({"tone": [1]}), "tone"),
        (np.array([1]), None),
        ([1], None),
    ],
)
def test_y_keeps_the_name_that_it_has(y: Any, name: str | None) -> None:
    assert column_name(y) == name


def shuffled(order: Callable[[list[Any]], list[Any]]) -> list[Any]:
    return order(["a", "b", "c", "b"])


@pytest.mark.parametrize("order", [list, sorted, lambda y: y[::-1]])
def test_order_of_classes_does_not_depend_on_the_order_of_rows(order: Callable[[list[Any]], list[Any]]) -> None:
    assert read_labels(shuffled(order), 4).classes.tolist() == ["a", "b", "c"]

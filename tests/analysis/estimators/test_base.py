"""What estimators accept, what they refuse, and what they report."""

import json
import math
import re

import numpy as np
import pytest

from predgen.analysis.estimators.base import Estimate, checked_pairs, combined, interval, standard_error
from predgen.errors import DataError

Z = np.random.default_rng(0).normal(size=(60, 3))
SCORES = Z[:, :1] + 1.0
CLASSES = np.arange(60) % 3


def with_value(values: np.ndarray, at: tuple[int, int], value: float) -> np.ndarray:
    changed = values.copy()
    changed[at] = value
    return changed


REFUSED = {
    "few rows": (Z[:9], SCORES[:9], "got 9 rows, but needs at least 20; take more rows"),
    "lengths": (Z, SCORES[:59], "got 60 rows of `z` and 59 of `y`; give both for the same rows"),
    "nan": (with_value(Z, (7, 2), math.nan), SCORES, "a `z` with 1 numbers that are not finite, the first nan in row 7, column 2"),
    "inf": (Z, with_value(SCORES, (3, 0), math.inf), "a `y` with 1 numbers that are not finite, the first inf in row 3"),
    "constant": (np.hstack([Z, np.full((60, 1), 4.0)]), CLASSES, "whose column 3 is constant: its spread over 60 rows is 0"),
    "all constant": (np.ones((60, 2)), CLASSES, "the widest column's 0; 2 of 2 columns are so"),
    "rounding errors": (np.hstack([Z, 1e-12 * Z[:, :1]]), CLASSES, "column 3 is constant"),
    "constant scores": (Z, np.ones((60, 1)), "a `y` whose column 0 is constant"),
    "one class": (Z, np.full(60, 4), "got 60 rows of one class, 4; take rows of at least two"),
    "rare class": (Z, np.where(np.arange(60) < 4, 9, 2), "got 4 rows of class 9, but needs at least 5 of each"),
    "score vector": (Z, SCORES[:, 0], "a `y` of type float64 and shape (60,); give class ids as integers"),
    "class matrix": (Z, CLASSES[:, None], "a `y` of type int64 and shape (60, 1)"),
    "whole z": (CLASSES[:, None], CLASSES, "a `z` of type int64 and shape (60, 1); give floats"),
    "flat z": (Z[:, 0], CLASSES, "a `z` of type float64 and shape (60,)"),
    "no columns": (Z[:, :0], CLASSES, "shape (60, 0)"),
}  # fmt: skip


@pytest.mark.parametrize(("z", "y", "message"), REFUSED.values(), ids=REFUSED)
def test_rows_that_cannot_be_measured_are_refused(z: np.ndarray, y: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        checked_pairs(z, y, "ksg", 20)
    assert str(caught.value).startswith("estimator 'ksg' got ")
    assert str(caught.value).endswith(".")


def test_columns_are_standardised_and_classes_numbered() -> None:
    pairs = checked_pairs((Z * [1, 50, 1e-3] + [0, 7, -2]).astype(np.float32), CLASSES * 10 - 4, "ksg", 20)
    np.testing.assert_allclose(pairs.z.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(pairs.z.std(axis=0), 1, atol=1e-12)
    assert pairs.is_discrete
    assert pairs.y.tolist() == CLASSES.tolist()
    assert len(pairs) == 60


def test_columns_of_a_class_are_one_hot_up_to_scale() -> None:
    columns = checked_pairs(Z, CLASSES, "ksg", 20).y_columns
    assert columns.shape == (60, 3)
    assert [np.unique(columns[:, c].round(9)).size for c in range(3)] == [2, 2, 2]
    assert (columns.argmax(axis=1) == CLASSES).all()
    np.testing.assert_allclose(columns.std(axis=0), 1, atol=1e-12)
    continuous = checked_pairs(Z, SCORES, "ksg", 20)
    assert not continuous.is_discrete
    assert continuous.y_columns is continuous.y


def test_seeds_are_brought_together() -> None:
    terms = np.array([[1.0, 2.0, 3.0, 2.0], [2.0, 3.0, 4.0, 3.0]])  # means 2 and 3; row means 1.5, 2.5, 3.5, 2.5
    found = combined(terms, "mine", {"folds": 5})
    assert (found.nats, found.rows, found.estimator) == (2.5, 4, "mine")
    assert found.std_nats == pytest.approx(math.sqrt(0.5))  # (0.5^2 + 0.5^2) / (2 - 1)
    # Row means spread by sqrt((1 + 0 + 1 + 0) / 3); divided by sqrt(4) rows; 1.96 of that to both sides.
    assert found.high == pytest.approx(2.5 + 1.959964 * math.sqrt(2 / 3) / 2)
    assert found.low == pytest.approx(5.0 - found.high)
    assert found.details == {"folds": 5, "nats_by_seed": [2.0, 3.0]}
    assert combined(terms[:1], "mine", {}).std_nats is None


def test_interval_is_the_normal_one() -> None:
    low, high = interval(1.0, standard_error(np.array([0.0, 2.0] * 50)))
    assert (low + high) / 2 == pytest.approx(1.0)
    assert high - low == pytest.approx(2 * 1.959964 * np.std([0.0, 2.0] * 50, ddof=1) / 10)


def test_estimate_is_plain_data() -> None:
    found = Estimate(0.5, None, 0.4, 0.6, 100, "ksg", {"neighbours": 3})
    assert json.loads(json.dumps(found.to_dict())) == {
        "nats": 0.5,
        "std_nats": None,
        "low": 0.4,
        "high": 0.6,
        "rows": 100,
        "estimator": "ksg",
        "details": {"neighbours": 3},
    }

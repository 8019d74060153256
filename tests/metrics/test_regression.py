"""Metrics of numbers, against plain loops and numpy's other routes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predgen.errors import DataError
from predgen.metrics.base import Metric
from predgen.metrics.regression import MAE, MSE, PEARSON, R2, RMSE, SPEARMAN

ALL = [MSE, RMSE, MAE, PEARSON, SPEARMAN, R2]
numbers = st.floats(-1e3, 1e3).map(lambda x: round(x, 2))
pairs = st.lists(st.tuples(numbers, numbers), min_size=3, max_size=30)


def ranks(values: list[float]) -> list[float]:
    """Rank by counting: smaller values, plus half of the equal ones."""
    return [sum(v < x for v in values) + (sum(v == x for v in values) + 1) / 2 for x in values]


def correlation(x: list[float], y: list[float]) -> float:
    """Pearson's r by plain sums."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    products = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    spread = math.sqrt(sum((a - mean_x) ** 2 for a in x) * sum((b - mean_y) ** 2 for b in y))
    return products / spread


@given(pairs)
def test_errors_equal_plain_loops(rows: list[tuple[float, float]]) -> None:
    targets, predictions = map(list, zip(*rows, strict=True))
    gaps = [p - t for t, p in rows]
    assert MSE(targets, predictions) == pytest.approx(sum(g * g for g in gaps) / len(gaps), rel=1e-12, abs=1e-12)
    assert MAE(targets, predictions) == pytest.approx(sum(map(abs, gaps)) / len(gaps), rel=1e-12, abs=1e-12)
    assert RMSE(targets, predictions) == pytest.approx(math.sqrt(MSE(targets, predictions)), rel=1e-12, abs=1e-12)


@given(pairs)
def test_correlations_equal_plain_loops(rows: list[tuple[float, float]]) -> None:
    targets, predictions = map(list, zip(*rows, strict=True))
    if len(set(targets)) == 1 or len(set(predictions)) == 1:
        assert math.isnan(PEARSON(targets, predictions))
        assert math.isnan(SPEARMAN(targets, predictions))
        return
    assert PEARSON(targets, predictions) == pytest.approx(correlation(targets, predictions), abs=1e-8)
    assert SPEARMAN(targets, predictions) == pytest.approx(correlation(ranks(targets), ranks(predictions)), abs=1e-9)


@given(pairs)
def test_r2_equals_a_plain_loop(rows: list[tuple[float, float]]) -> None:
    targets, predictions = map(list, zip(*rows, strict=True))
    mean = sum(targets) / len(targets)
    spread = sum((t - mean) ** 2 for t in targets)
    if len(set(targets)) == 1:
        assert math.isnan(R2(targets, predictions))
    else:
        expected = 1 - sum((p - t) ** 2 for t, p in rows) / spread
        assert R2(targets, predictions) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_hand_calculated_values() -> None:
    # gaps -1, 0, 2: squares 1 + 0 + 4 = 5, absolute 3; targets' spread about 2: 1 + 0 + 1 = 2
    targets, predictions = [1.0, 2.0, 3.0], [0.0, 2.0, 5.0]
    assert MSE(targets, predictions) == pytest.approx(5 / 3)
    assert RMSE(targets, predictions) == pytest.approx(math.sqrt(5 / 3))
    assert MAE(targets, predictions) == 1.0
    assert R2(targets, predictions) == pytest.approx(1 - 5 / 2)
    assert SPEARMAN(targets, predictions) == pytest.approx(1.0)


def test_spearman_shares_ranks_among_ties() -> None:
    # ranks of the targets 1, 2.5, 2.5, 4; of the predictions 1, 2, 3, 4: r = 4.5 / sqrt(4.5 * 5)
    assert SPEARMAN([1.0, 2.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0]) == pytest.approx(4.5 / math.sqrt(4.5 * 5))


@pytest.mark.parametrize("metric", [PEARSON, SPEARMAN], ids=lambda m: m.name)
@pytest.mark.parametrize("constant", [0.0, 3.0, 0.1])
def test_correlation_with_a_constant_is_nan_without_warning(metric: Metric, constant: float) -> None:
    varied, flat = [1.0, 2.0, 3.0], [constant] * 3
    assert math.isnan(metric(varied, flat))
    assert math.isnan(metric(flat, varied))


def test_pearson_with_rounding_noise_for_a_constant_is_nan_without_warning() -> None:
    noise = [0.3, 0.1 + 0.2, 0.3]
    assert len(set(noise)) == 2
    assert math.isnan(PEARSON([1.0, 2.0, 3.0], noise))


def test_r2_of_constant_predictions_is_defined_and_of_constant_targets_is_not() -> None:
    assert R2([1.0, 3.0], [2.0, 2.0]) == 0.0
    assert math.isnan(R2([2.0, 2.0], [1.0, 3.0]))
    assert math.isnan(R2([2.0, 2.0], [2.0, 2.0]))


def test_one_row_has_errors_but_no_correlation() -> None:
    assert MSE([1.0], [3.0]) == 4.0
    assert all(math.isnan(metric([1.0], [3.0])) for metric in (PEARSON, SPEARMAN, R2))


@pytest.mark.parametrize("metric", ALL, ids=lambda m: m.name)
def test_no_rows_give_nan(metric: Metric) -> None:
    assert math.isnan(metric([], []))


@pytest.mark.parametrize("metric", ALL, ids=lambda m: m.name)
def test_unparsed_rows_are_left_out(metric: Metric) -> None:
    generator = np.random.default_rng(0)
    targets, predictions = generator.normal(size=20), generator.normal(size=20)
    expected = metric(targets[5:], predictions[5:])
    assert metric(targets, [None] * 3 + [float("nan")] * 2 + predictions[5:].tolist()) == expected
    assert math.isnan(metric(targets, [None] * 20))


@pytest.mark.parametrize(
    ("targets", "predictions", "message"),
    [
        ([1.0, None], [1.0, 2.0], "target of row 1 is missing"),
        ([1.0, float("nan")], [1.0, 2.0], "target of row 1 is missing"),
        ([1.0, 2.0], [1.0, float("inf")], "prediction of row 1 is inf"),
        ([1.0, 2.0], [1.0, "many"], "prediction of row 1 is 'many', but this metric compares numbers"),
        ([1.0, 2.0], [1.0], "got 2 targets and 1 predictions"),
    ],
)
def test_bad_columns_are_refused(targets: list[object], predictions: list[object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        MSE(targets, predictions)


def test_directions() -> None:
    assert [metric.greater_is_better for metric in ALL] == [False, False, False, True, True, True]

"""Metrics on many resamples at once, against the metric itself on the drawn rows; own metrics that declare more or less."""

import math

import numpy as np
import pytest

from predgen import registries
from predgen.errors import ConfigError
from predgen.metrics.base import Metric
from predgen.metrics.intervals import bootstrap_interval, paired_difference
from predgen.metrics.rows import Rows

# The same metric three times: the least that can be declared, with a short cut, and as a mean of row scores.
PLAIN = Metric("off", "regression", False, lambda t, p, q, names: float((abs(t - p) > 0.5).mean()))
QUICK = Metric(
    "off",
    "regression",
    greater_is_better=False,
    function=PLAIN.function,
    resampled=lambda rows, w: w @ (np.abs(rows.targets - rows.predictions) > 0.5) / w.sum(axis=1),
)
MEAN = Metric(
    "off", "regression", greater_is_better=False, scores=lambda rows: np.abs(rows.targets - rows.predictions) > 0.5
)
OWN = {"plain": PLAIN, "quick": QUICK, "mean": MEAN}


def weights_of(index: np.ndarray, n_rows: int) -> np.ndarray:
    return np.stack([np.bincount(rows, minlength=n_rows) for rows in index]).astype(np.float64)


def columns_for(metric: Metric, n_rows: int, generator: np.random.Generator) -> Rows:
    """Columns with what is awkward: ties, unread predictions, a class that is rare, a true label without a column."""
    if metric.kind == "classification":
        labels = ["a", "b", "c"]
        targets = generator.choice([*labels, "new"], size=n_rows, p=[0.5, 0.4, 0.07, 0.03]).tolist()
        values: list = generator.choice(labels, size=n_rows).tolist()
        values[0] = None
        probabilities = generator.dirichlet([1, 1, 1], size=n_rows)
        return metric.rows(targets, values, probabilities, labels)
    targets = np.round(generator.normal(size=n_rows), 1)
    values = np.where(generator.random(n_rows) < 0.3, targets, np.round(generator.normal(size=n_rows), 1))
    values[1] = np.nan
    return metric.rows(targets, values)


@pytest.mark.parametrize("name", [*registries.metrics, *OWN])
def test_metric_of_resamples_equals_the_metric_on_the_drawn_rows(name: str) -> None:
    generator, metric = np.random.default_rng(3), OWN.get(name) or registries.metrics.get(name)
    rows = columns_for(metric, 40, generator)
    index = generator.integers(40, size=(30, 40))
    expected = [metric.on(rows.take(drawn)) for drawn in index]
    assert not np.isnan(expected).any()
    np.testing.assert_allclose(metric.on_resamples(rows, weights_of(index, 40)), expected, rtol=1e-10)


@pytest.mark.parametrize("name", ["pearson", "spearman", "r2"])
def test_metric_of_resamples_is_undefined_where_the_metric_is(name: str) -> None:
    metric = registries.metrics.get(name)
    rows = metric.rows([0.1, 0.1, 0.1, 2.0], [0.3, 0.7, 0.9, 1.0])
    index = np.array([[0, 1, 2, 0], [0, 1, 2, 3], [3, 3, 3, 3]])
    expected = [metric.on(rows.take(drawn)) for drawn in index]
    assert np.isnan(expected).tolist() == [True, False, True]
    np.testing.assert_allclose(metric.on_resamples(rows, weights_of(index, 4)), expected, rtol=1e-10)


@pytest.mark.parametrize(
    "name", [*(n for n in registries.metrics if registries.metrics.get(n).kind == "regression"), *OWN]
)
def test_metric_of_resamples_is_undefined_where_nothing_was_read(name: str) -> None:
    metric = OWN.get(name) or registries.metrics.get(name)
    rows = metric.rows([1.0, 2.0], [math.nan, math.nan])
    assert np.isnan(metric.on_resamples(rows, np.ones((3, 2)))).all()


@pytest.mark.parametrize("name", registries.metrics)
def test_values_lie_in_the_bounds_that_a_metric_declares(name: str) -> None:
    generator, metric = np.random.default_rng(5), registries.metrics.get(name)
    rows = columns_for(metric, 30, generator)
    values = metric.on_resamples(rows, weights_of(generator.integers(30, size=(50, 30)), 30))
    assert metric.bounds[0] <= values.min() <= values.max() <= metric.bounds[1]
    perfect = rows.targets if metric.kind != "classification" else np.where(rows.targets == "new", "a", rows.targets)
    sure = None if rows.labels is None else [[float(t == label) for label in rows.labels] for t in perfect]
    best = metric(perfect, perfect, sure, rows.labels)
    assert best == pytest.approx(metric.bounds[1 if metric.greater_is_better else 0], abs=1e-12)


def test_what_a_metric_declares_does_not_change_its_figures() -> None:
    generator = np.random.default_rng(2)
    targets, first, second = generator.normal(size=(3, 50))
    first[3] = np.nan
    intervals = [bootstrap_interval(metric, targets, first, n_resamples=200) for metric in OWN.values()]
    assert intervals[0] == intervals[1] == intervals[2]
    assert intervals[0][0] < PLAIN(targets, first) < intervals[0][1]
    paired = [paired_difference(metric, targets, first, second, n_resamples=200) for metric in OWN.values()]
    assert paired[0] == paired[1] == paired[2]


def test_unread_numbers_reach_no_metric_and_have_no_score() -> None:
    rows = MEAN.rows([1.0, 2.0, 3.0], [1.0, None, 5.0])
    np.testing.assert_array_equal(MEAN.row_scores(rows), [0.0, np.nan, 1.0])
    assert MEAN.on(rows) == PLAIN.on(rows) == 0.5


@pytest.mark.parametrize("given", [{}, {"function": PLAIN.function, "scores": MEAN.scores}], ids=["neither", "both"])
def test_a_metric_is_declared_in_one_way(given: dict, request: pytest.FixtureRequest) -> None:
    with pytest.raises(ConfigError, match=f"'twice'.*{request.node.callspec.id}.*`function`.*`scores`"):
        Metric("twice", "regression", greater_is_better=True, **given)

"""Several metrics at once, and what all registered metrics share."""

import math

import pytest

from predgen import registries
from predgen.errors import ConfigError, DataError
from predgen.metrics.base import Metric, metrics_of
from predgen.metrics.intervals import bootstrap_interval
from predgen.metrics.measure import measure, measure_intervals

COLUMNS = {
    "classification": (["a", "b", "b", "a"], ["a", "b", "a", "a"], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]]),
    "regression": ([1.0, 2.0, 4.0, 3.0], [1.5, 2.0, 3.0, 3.5], None),
    "math": ([1.0, 2.0, 4.0, 3.0], [1.0, 2.0, 3.0, 3.0], None),
}


def columns(metric: Metric) -> tuple[object, object, object, object]:
    targets, predictions, probabilities = COLUMNS[metric.kind]
    return targets, predictions, probabilities, None if probabilities is None else ["a", "b"]


@pytest.fixture(params=list(registries.metrics))
def metric(request: pytest.FixtureRequest) -> Metric:
    found = registries.metrics.get(request.param)
    assert isinstance(found, Metric)
    return found


def test_value_is_a_finite_float(metric: Metric) -> None:
    value = metric(*columns(metric))
    assert type(value) is float
    assert math.isfinite(value)


def test_order_of_rows_does_not_matter(metric: Metric) -> None:
    targets, predictions, probabilities, labels = columns(metric)
    backwards = (column if column is None else column[::-1] for column in (targets, predictions, probabilities))
    assert metric(*backwards, labels) == pytest.approx(metric(*columns(metric)), abs=1e-12)


def test_perfect_predictions_are_better_than_these(metric: Metric) -> None:
    targets, _, probabilities, labels = columns(metric)
    sure = None if probabilities is None else [[float(t == label) for label in labels] for t in targets]
    best, other = metric(targets, targets, sure, labels), metric(*columns(metric))
    assert best > other if metric.greater_is_better else best < other


def test_several_metrics_keep_their_order_and_values() -> None:
    targets, predictions, probabilities = COLUMNS["classification"]
    values = measure(["log_loss", "accuracy"], targets, predictions, probabilities, ["a", "b"])
    # 3 of 4 right; -(ln 0.9 + ln 0.8 + ln 0.4 + ln 0.7) / 4
    assert list(values) == ["log_loss", "accuracy"]
    assert values["accuracy"] == 0.75
    assert values["log_loss"] == pytest.approx(-math.log(0.9 * 0.8 * 0.4 * 0.7) / 4)


def test_unknown_metric_is_refused_with_near_matches() -> None:
    with pytest.raises(ConfigError, match=r"unknown metric 'acuracy'\. Did you mean 'accuracy'"):
        measure(["acuracy"], ["a"], ["a"])


def test_missing_probabilities_are_refused_by_name() -> None:
    with pytest.raises(DataError, match="metric 'log_loss' needs `probabilities`"):
        registries.metrics.get("log_loss")(["a"], ["a"])


@pytest.mark.parametrize("probabilities", [None, [(0.9, 0.1), None]], ids=["none", "not-for-every-row"])
def test_measuring_leaves_out_what_probabilities_are_missing_for(probabilities: list | None) -> None:
    columns = (["a", "b"], ["a", "a"], probabilities, ["a", "b"])
    assert measure(["log_loss", "accuracy"], *columns) == {"accuracy": 0.5}
    assert list(measure_intervals(["log_loss", "accuracy"], *columns, n_resamples=5)) == ["accuracy"]


def test_measured_intervals_are_those_of_each_metric() -> None:
    targets, predictions, probabilities = COLUMNS["classification"]
    names = ["log_loss", "accuracy"]
    found = measure_intervals(names, targets, predictions, probabilities, ["a", "b"], n_resamples=30, seed=3)
    columns = (targets, predictions, probabilities, ["a", "b"])
    assert found == {name: bootstrap_interval(name, *columns, n_resamples=30, seed=3) for name in names}


def test_the_metric_that_chooses_comes_first_among_those_that_are_measured() -> None:
    task = registries.tasks.get("sst2")
    assert metrics_of(None, task) == list(task.metrics)
    assert metrics_of("log_loss", task) == ["log_loss", *(name for name in task.metrics if name != "log_loss")]
    assert metrics_of("own", task) == ["own", *task.metrics]

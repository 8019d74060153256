"""Bootstrap intervals, against closed forms, scipy's bootstrap and plain loops."""

import math

import numpy as np
import pytest
from scipy import stats

from predgen.errors import ConfigError, DataError
from predgen.metrics.intervals import bootstrap_interval, paired_difference
from predgen.metrics.regression import MAE, PEARSON


def correlated(seed: int, n: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    targets = generator.normal(size=n)
    return targets, targets + noise * generator.normal(size=n)


def test_interval_of_a_share_equals_the_normal_approximation() -> None:
    # 200 of 400 right: 0.5 -+ 1.96 * sqrt(0.25 / 400) = 0.5 -+ 0.049
    low, high = bootstrap_interval("accuracy", ["a"] * 400, ["a", "b"] * 200, n_resamples=4000)
    assert low == pytest.approx(0.451, abs=0.005)
    assert high == pytest.approx(0.549, abs=0.005)


def test_interval_equals_scipys_percentile_bootstrap() -> None:
    targets, predictions = correlated(seed=1, n=80, noise=0.7)
    ours = bootstrap_interval("pearson", targets, predictions, n_resamples=2000)
    theirs = stats.bootstrap(
        (targets, predictions),
        lambda x, y: stats.pearsonr(x, y).statistic,
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=2000,
        rng=np.random.default_rng(5),
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_interval_equals_a_plain_loop_over_the_same_draws() -> None:
    targets, predictions = correlated(seed=2, n=15, noise=1.0)
    generator, values = np.random.default_rng(7), []
    for _ in range(50):
        rows = generator.integers(15, size=15)
        values.append(sum(abs(targets[r] - predictions[r]) for r in rows) / 15)
    expected = tuple(np.percentile(values, [5, 95]))
    assert bootstrap_interval(MAE, targets, predictions, n_resamples=50, seed=7, confidence=0.9) == pytest.approx(
        expected
    )


def test_rows_keep_their_own_probabilities() -> None:
    # P(right) is 0.8 in every row, whatever its class: no resample can change the loss, -ln 0.8
    targets = ["a", "b"] * 10
    probabilities = [[0.8, 0.2], [0.2, 0.8]] * 10
    low, high = bootstrap_interval("log_loss", targets, targets, probabilities, ["a", "b"], n_resamples=20)
    assert (low, high) == pytest.approx((-math.log(0.8), -math.log(0.8)))


def test_seed_decides_the_draws() -> None:
    targets, predictions = correlated(seed=3, n=30, noise=1.0)
    first, again, other = (bootstrap_interval("mse", targets, predictions, seed=s, n_resamples=100) for s in (0, 0, 1))
    assert first == again != other


def test_higher_confidence_is_wider() -> None:
    targets, predictions = correlated(seed=4, n=50, noise=1.0)
    narrow = bootstrap_interval("mae", targets, predictions, confidence=0.5)
    wide = bootstrap_interval("mae", targets, predictions, confidence=0.99)
    assert wide[0] < narrow[0] < MAE(targets, predictions) < narrow[1] < wide[1]


def test_undefined_resamples_are_left_out() -> None:
    # of two rows, half of the resamples draw one row twice: no correlation there; the others have r = 1
    targets = [1.0, 2.0, 3.0]
    assert bootstrap_interval("pearson", targets, targets) == pytest.approx((1.0, 1.0))


@pytest.mark.parametrize(
    ("targets", "predictions"),
    [([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]), ([1.0], [2.0]), ([], []), ([1.0, 2.0], [None, None])],
    ids=["constant", "one-row", "no-rows", "unparsed"],
)
def test_undefined_metric_has_no_interval(targets: list[float], predictions: list[float | None]) -> None:
    assert all(map(math.isnan, bootstrap_interval("pearson", targets, predictions)))


def test_mostly_undefined_resamples_give_no_interval() -> None:
    # one row of 40 differs: with probability (39/40)^40 = 0.36 it is missed; for one differing row on each side, in
    # different rows, a resample must hold both: more than half do not
    targets, predictions = [0.0] * 40, [0.0] * 40
    targets[0] = predictions[1] = 1.0
    assert not math.isnan(PEARSON(targets, predictions))
    assert all(map(math.isnan, bootstrap_interval("pearson", targets, predictions, n_resamples=400)))


def test_paired_difference_of_equal_models_is_zero() -> None:
    targets, predictions = correlated(seed=5, n=40, noise=1.0)
    result = paired_difference("pearson", targets, predictions, predictions, n_resamples=50)
    assert (result.difference, result.low, result.high) == (0.0, 0.0, 0.0)


def test_paired_difference_is_first_minus_second_and_equals_a_plain_loop() -> None:
    targets, first = correlated(seed=6, n=25, noise=0.2)
    _, second = correlated(seed=6, n=25, noise=1.0)
    generator, values = np.random.default_rng(3), []
    for _ in range(60):
        rows = generator.integers(25, size=25)
        values.append(np.mean(np.abs(first - targets)[rows]) - np.mean(np.abs(second - targets)[rows]))
    result = paired_difference("mae", targets, first, second, n_resamples=60, seed=3)
    assert result.difference == pytest.approx(MAE(targets, first) - MAE(targets, second))
    assert (result.low, result.high) == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])))
    assert result.high < 0


def test_pairing_is_narrower_than_two_separate_intervals() -> None:
    # both models share the rows' difficulty; the second is worse by little, but on every row
    targets = np.zeros(60)
    first = np.abs(np.random.default_rng(8).normal(size=60))
    low_1, high_1 = bootstrap_interval("mae", targets, first)
    low_2, _ = bootstrap_interval("mae", targets, first + 0.05)
    result = paired_difference("mae", targets, first, first + 0.05)
    assert low_2 < high_1
    assert (result.low, result.high) == pytest.approx((-0.05, -0.05))
    assert high_1 - low_1 > 0.1


def test_paired_difference_leaves_out_rows_that_either_model_left_unparsed() -> None:
    result = paired_difference("mae", [0.0, 0.0, 0.0, 0.0], [None, 1.0, 1.0, 9.0], [9.0, 2.0, 2.0, None])
    assert (result.difference, result.low, result.high) == (-1.0, -1.0, -1.0)


def test_paired_difference_counts_unparsed_labels_as_wrong() -> None:
    assert paired_difference("accuracy", ["a", "a"], ["a", "a"], ["a", None]).difference == 0.5


def test_paired_difference_takes_both_models_probabilities() -> None:
    sure, unsure = [[0.8, 0.2]] * 4, [[0.5, 0.5]] * 4
    rows = ["a"] * 4
    result = paired_difference("log_loss", rows, rows, rows, probabilities=(sure, unsure), labels=["a", "b"])
    # -ln 0.8 + ln 0.5
    assert result.difference == pytest.approx(math.log(0.5 / 0.8))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_resamples": 0}, "`n_resamples` is 0, but must be at least 1"),
        ({"confidence": 1.0}, "`confidence` is 1.0, but must lie between 0 and 1"),
        ({"confidence": 95}, "`confidence` is 95, but"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        bootstrap_interval("mae", [1.0, 2.0], [1.0, 2.0], **settings)


def test_columns_must_fit_together() -> None:
    with pytest.raises(DataError, match="got 2 targets and 1 predictions"):
        paired_difference("mae", [1.0, 2.0], [1.0, 2.0], [1.0])

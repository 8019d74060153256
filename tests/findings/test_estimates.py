"""Intervals over rows and seeds, against plain loops, scipy, the metrics themselves and simulated truth."""

import math

import numpy as np
import pytest
from scipy import stats

from predgen.findings.base import MetricEstimate
from predgen.findings.estimates import estimate
from predgen.metrics.bootstrap import Draws, joined_error
from predgen.metrics.intervals import bootstrap_interval
from predgen.metrics.weighted import mean_of_resamples


def loop_interval(scores: np.ndarray, n_resamples: int, seed: int) -> tuple[float, float]:
    """Hierarchical percentile bootstrap of mean scores (seeds x rows) with the same draws, in plain loops."""
    n_seeds, n_rows = scores.shape
    all_rows = np.random.default_rng([seed, 0]).integers(n_rows, size=(n_resamples, n_rows))
    all_seeds = np.random.default_rng([seed, 1]).integers(n_seeds, size=(n_resamples, n_seeds))
    means, over_all_seeds = [], []
    for rows, seeds in zip(all_rows, all_seeds, strict=True):
        total = 0.0
        for s in seeds:
            for r in rows:
                total += scores[s, r]
        means.append(total / (n_seeds * n_rows))
        over_all_seeds.append(sum(scores[s, r] for s in range(n_seeds) for r in rows) / (n_seeds * n_rows))
    low, high = np.percentile(means, [2.5, 97.5])
    if n_seeds == 1:
        return low, high
    by_rows = np.var(over_all_seeds) * n_rows / (n_rows - 1)
    by_seeds = stats.sem(scores.mean(axis=1)) ** 2
    freedom = (by_rows + by_seeds) ** 2 / (by_rows**2 / (n_rows - 1) + by_seeds**2 / (n_seeds - 1))
    factor = max(
        1, stats.t(freedom).ppf(0.975) * math.sqrt(by_rows + by_seeds) / (stats.norm.ppf(0.975) * np.std(means))
    )
    return scores.mean() - factor * (scores.mean() - low), scores.mean() + factor * (high - scores.mean())


def interval_of(scores: np.ndarray, n_resamples: int = 2000, seed: int = 0) -> MetricEstimate:
    draws = Draws(scores.shape[1], n_resamples, seed)
    resampled = draws.over_rows(lambda weights: mean_of_resamples(scores.T, weights))
    return estimate(scores.mean(axis=1).tolist(), resampled, draws)


@pytest.mark.parametrize("n_seeds", [1, 2, 3])
def test_interval_equals_a_plain_loop_over_the_same_draws(n_seeds: int) -> None:
    scores = np.random.default_rng(n_seeds).exponential(size=(n_seeds, 12)) + np.arange(n_seeds)[:, None]
    found = interval_of(scores, n_resamples=80, seed=4)
    assert (found.low, found.high) == pytest.approx(loop_interval(scores, 80, 4), rel=1e-9)
    assert found.value == pytest.approx(scores.mean())
    assert found.chance == ("rows only" if n_seeds == 1 else "rows and seeds")


def test_interval_of_one_seed_equals_that_of_the_metrics_and_of_scipy() -> None:
    targets, values = ["a"] * 90, ["a"] * 60 + ["b"] * 30
    found = interval_of(np.array([[1.0] * 60 + [0.0] * 30]), n_resamples=4000)
    ours = bootstrap_interval("accuracy", targets, values, n_resamples=4000)
    theirs = stats.bootstrap(
        (np.array([1.0] * 60 + [0.0] * 30),),
        np.mean,
        method="percentile",
        n_resamples=4000,
        rng=np.random.default_rng(8),
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx(ours, abs=0.012)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.012)


def coverage(seed_spread: float, row_spread: float, *, n_experiments: int = 250) -> tuple[float, float]:
    """Share of experiments (3 seeds, 40 rows, true mean 0) whose interval holds 0: plain percentiles, and ours."""
    generator, plain, ours = np.random.default_rng(11), 0, 0
    for _ in range(n_experiments):
        scores = generator.normal(size=(3, 40)) + seed_spread * generator.normal(size=(3, 1))
        scores += row_spread * generator.normal(size=(1, 40))
        draws = Draws(40, 300, 0)
        resampled = draws.over_rows(lambda weights, scores=scores: mean_of_resamples(scores.T, weights))
        drawn = np.take_along_axis(resampled, draws.of_seeds(3), axis=1).mean(axis=1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        plain += low <= 0 <= high
        found = estimate(scores.mean(axis=1).tolist(), resampled, draws)
        assert found.low is not None
        assert found.high is not None
        ours += found.low <= 0 <= found.high
    return plain / n_experiments, ours / n_experiments


def test_interval_holds_the_truth_where_seeds_differ_much_and_plain_percentiles_do_not() -> None:
    plain, ours = coverage(seed_spread=2.0, row_spread=0.5)
    assert plain < 0.85  # 1 - 2 / 2^3 = 0.75
    assert ours > 0.92


def test_interval_holds_the_truth_where_rows_differ_much_without_being_boundless() -> None:
    _, ours = coverage(seed_spread=0.0, row_spread=2.0)
    assert 0.92 < ours <= 0.99


def test_interval_is_by_seed_of_the_draws() -> None:
    scores = np.random.default_rng(5).normal(size=(3, 30))
    assert interval_of(scores, seed=1) == interval_of(scores, seed=1)
    assert interval_of(scores, seed=1) != interval_of(scores, seed=2)


def test_many_rows_are_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("predgen.metrics.bootstrap._CELLS", 100)
    sizes: list[int] = []

    def statistic(weights: np.ndarray) -> np.ndarray:
        assert (weights.sum(axis=1) == 30).all()
        sizes.append(len(weights))
        return weights[:, 0]

    assert len(Draws(30, 10, 0).over_rows(statistic)) == 10
    assert sizes == [3, 3, 3, 1]


def test_one_row_has_no_interval() -> None:
    found = interval_of(np.array([[0.5], [0.7], [0.9]]))
    assert (found.value, found.low, found.high, found.chance) == (pytest.approx(0.7), None, None, "nothing")


def test_a_figure_that_a_seed_lacks_is_not_averaged_over_the_others() -> None:
    draws = Draws(10, 50, 0)
    found = estimate([0.5, math.nan], np.zeros((50, 2)), draws)
    assert found == MetricEstimate(None, None, None, [0.5, None], "nothing")
    assert estimate([], None, draws).value is None


def test_interval_needs_a_figure_on_half_of_the_resamples() -> None:
    draws, resampled = Draws(10, 50, 0), np.random.default_rng(0).normal(size=(50, 1))
    resampled[:25] = np.nan
    assert estimate([0.0], resampled, draws).low is not None
    resampled[:26] = np.nan
    assert estimate([0.0], resampled, draws).low is None


def test_interval_ends_where_the_figure_does() -> None:
    scores = np.repeat([[0.5], [0.95], [1.0]], 20, axis=1)
    draws = Draws(20, 200, 0)
    resampled = draws.over_rows(lambda weights: mean_of_resamples(scores.T, weights))
    free = estimate([0.5, 0.95, 1.0], resampled, draws)
    assert free.high is not None
    assert free.high > 1
    assert estimate([0.5, 0.95, 1.0], resampled, draws, (0.0, 1.0)).high == 1.0


def test_equal_scores_have_an_interval_of_no_width() -> None:
    found = interval_of(np.ones((3, 20)))
    assert (found.low, found.high) == (1.0, 1.0)


def test_standard_error_joins_both_sources() -> None:
    assert joined_error(0.04, 50, 0.0, 1) == (pytest.approx(0.2), pytest.approx(49))
    # (0.04 + 0.05)^2 / (0.04^2 / 49 + 0.05^2 / 2) = 0.0081 / (0.00003265 + 0.00125) = 6.315
    assert joined_error(0.04, 50, 0.05, 3) == (pytest.approx(0.3), pytest.approx(6.315, abs=1e-3))
    assert joined_error(0.0, 50, 0.0, 3) == (0.0, 49.0)

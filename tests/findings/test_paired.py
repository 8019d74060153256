"""Paired tests, against scipy's, hand calculations, plain loops and simulated truth."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from predgen.findings.base import Difference, MetricEstimate
from predgen.findings.paired import holm, min_f_p, resampled_differences, sign_flip_p, standardised, with_verdicts
from predgen.metrics.bootstrap import Draws


def test_sign_flips_of_right_and_wrong_are_mcnemars_exact_test() -> None:
    # 9 rows that only the first has right, 3 that only the second has: binomial test of 9 of 12
    differences = np.array([1.0] * 9 + [-1.0] * 3 + [0.0] * 30)
    exact = stats.binomtest(9, 12).pvalue
    assert sign_flip_p(differences) == pytest.approx(exact, rel=1e-12)


def test_random_sign_flips_are_near_mcnemars_exact_test() -> None:
    differences = np.array([1.0] * 31 + [-1.0] * 16 + [0.0] * 200)
    assert sign_flip_p(differences) == pytest.approx(stats.binomtest(31, 47).pvalue, abs=0.004)


@pytest.mark.parametrize("n_rows", [9, 40])
def test_sign_flips_equal_scipys_permutation_test(n_rows: int) -> None:
    generator = np.random.default_rng(2)
    first, second = generator.exponential(size=n_rows), generator.exponential(size=n_rows)
    theirs = stats.permutation_test(
        (first, second),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).pvalue
    assert sign_flip_p(first - second) == pytest.approx(theirs, abs=1e-12 if n_rows == 9 else 0.01)


def test_sign_flips_of_no_difference_at_all() -> None:
    assert sign_flip_p(np.zeros(20)) == 1.0
    assert sign_flip_p(np.zeros(0)) == 1.0
    assert sign_flip_p(np.array([3.0])) == 1.0  # one row: both signs are as far from 0


def test_sign_flips_never_give_zero() -> None:
    assert sign_flip_p(np.ones(500), n_flips=99) == 1 / 100


def test_sign_flips_count_ties_that_differ_by_rounding_only() -> None:
    # 0.1 + 0.2 - 0.3 is 5.6e-17 in floats: all signs of (0.1, 0.2, -0.3) that sum to "0" must count as equal
    differences = np.array([0.1, 0.2, -0.3])
    assert sign_flip_p(differences) == 1.0


def anova_min_f(differences: np.ndarray) -> float:
    """p of min F' from mean squares, in loops (Clark 1973: F1 F2 / (F1 + F2))."""
    n_seeds, n_rows = differences.shape
    grand = sum(sum(row) for row in differences) / (n_seeds * n_rows)
    seed_means = [sum(row) / n_rows for row in differences]
    row_means = [sum(differences[s][r] for s in range(n_seeds)) / n_seeds for r in range(n_rows)]
    ms_seeds = n_rows * sum((m - grand) ** 2 for m in seed_means) / (n_seeds - 1)
    ms_rows = n_seeds * sum((m - grand) ** 2 for m in row_means) / (n_rows - 1)
    signal = n_seeds * n_rows * grand**2
    f_seeds, f_rows = signal / ms_seeds, signal / ms_rows
    min_f = f_seeds * f_rows / (f_seeds + f_rows)
    freedom = (f_seeds + f_rows) ** 2 / (f_seeds**2 / (n_rows - 1) + f_rows**2 / (n_seeds - 1))
    return float(stats.f(1, freedom).sf(min_f))


def test_min_f_equals_clarks_formula() -> None:
    generator = np.random.default_rng(6)
    differences = 0.3 + generator.normal(size=(3, 25)) + 0.2 * generator.normal(size=(3, 1))
    assert min_f_p(differences) == pytest.approx(anova_min_f(differences), rel=1e-10)


def test_min_f_of_equal_seeds_is_students_test_over_rows() -> None:
    rows = np.random.default_rng(7).normal(0.2, size=30)
    assert min_f_p(np.stack([rows, rows])) == pytest.approx(stats.ttest_1samp(rows, 0).pvalue, rel=1e-10)


def test_min_f_of_equal_rows_is_students_test_over_seeds() -> None:
    seeds = np.array([0.1, 0.3, 0.25])
    assert min_f_p(np.repeat(seeds[:, None], 9, axis=1)) == pytest.approx(stats.ttest_1samp(seeds, 0).pvalue, rel=1e-10)


def test_min_f_needs_two_seeds_and_two_rows() -> None:
    assert min_f_p(np.ones((1, 10))) is None
    assert min_f_p(np.ones((3, 1))) is None


def test_min_f_of_constant_differences() -> None:
    assert min_f_p(np.zeros((3, 10))) == 1.0
    assert min_f_p(np.full((3, 10), 0.1)) == 0.0


def rates(effect: float, seed_spread: float, n_experiments: int = 300) -> tuple[float, float]:
    """Share of simulated experiments (3 seeds, 60 rows) with p < 0.05: rows only, and the greater of both."""
    generator, by_rows, by_both = np.random.default_rng(12), 0, 0
    for number in range(n_experiments):
        differences = effect + generator.normal(size=(3, 60)) + generator.normal(size=(1, 60))
        differences += seed_spread * generator.normal(size=(3, 1))
        p_rows, p_seeds = sign_flip_p(differences.mean(axis=0), n_flips=400, seed=number), min_f_p(differences)
        assert p_seeds is not None
        by_rows += p_rows < 0.05
        by_both += max(p_rows, p_seeds) < 0.05
    return by_rows / n_experiments, by_both / n_experiments


def test_false_findings_stay_near_five_percent() -> None:
    by_rows, by_both = rates(effect=0.0, seed_spread=0.0)
    assert by_rows < 0.09  # 0.05 + 3 standard errors of 300 experiments
    assert by_both < 0.07  # conservative


def test_seeds_that_differ_fool_the_test_over_rows_but_not_the_greater_p() -> None:
    by_rows, by_both = rates(effect=0.0, seed_spread=0.5)
    assert by_rows > 0.2
    assert by_both < 0.09


def test_a_true_difference_is_found() -> None:
    assert rates(effect=0.7, seed_spread=0.05)[1] > 0.9


def test_holm_by_hand() -> None:
    # sorted 0.005 * 4 = 0.02, 0.01 * 3 = 0.03, 0.03 * 2 = 0.06, 0.04 * 1 -> 0.06 (not below the one before)
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    assert holm([0.02]) == [0.02]


def test_holm_rejects_what_the_stepwise_procedure_rejects() -> None:
    generator = np.random.default_rng(1)
    for _ in range(50):
        p = (generator.random(8) ** 3).tolist()
        rejected, left = set(), sorted(range(8), key=lambda i: p[i])
        for k, i in enumerate(left):
            if p[i] > 0.05 / (8 - k):
                break
            rejected.add(i)
        assert {i for i, corrected in enumerate(holm(p)) if corrected <= 0.05} == rejected


def difference(value: float | None, p: float, *, greater_is_better: bool = True) -> Difference:
    found = MetricEstimate(value, None, None, [value], "nothing")
    return Difference(
        task="sst2",
        first="a",
        second="b",
        metric="accuracy",
        greater_is_better=greater_is_better,
        family="headline",
        seeds=[0],
        rows=10,
        left_out=0,
        estimate=found,
        p_rows=p,
        p_seeds=None,
        p=p,
        p_corrected=1.0,
        verdict="no difference shown",
        standardised=0.1,
    )


@pytest.mark.parametrize(
    ("value", "greater_is_better", "p", "verdict"),
    [
        (0.1, True, 0.01, "first better"),
        (-0.1, True, 0.01, "second better"),
        (0.1, False, 0.01, "second better"),
        (-0.1, False, 0.01, "first better"),
        (0.1, True, 0.05, "no difference shown"),
        (0.0, True, 0.01, "no difference shown"),
        (None, True, 1.0, "no difference shown"),
    ],
)
def test_verdict_follows_p_and_direction(value: float | None, greater_is_better: bool, p: float, verdict: str) -> None:
    assert with_verdicts([difference(value, p, greater_is_better=greater_is_better)])[0].verdict == verdict


def test_verdicts_are_corrected_over_the_family() -> None:
    alone = with_verdicts([difference(0.1, 0.02)])
    among = with_verdicts([difference(0.1, 0.02), *(replace(difference(0.1, 0.9), task=str(i)) for i in range(2))])
    assert (alone[0].verdict, among[0].verdict) == ("first better", "no difference shown")
    assert among[0].p_corrected == pytest.approx(0.06)


def test_standardised_difference_by_hand() -> None:
    first, second = np.array([[1.0, 3.0], [1.0, 3.0]]), np.array([[0.0, 0.0], [2.0, 2.0]])
    # means 2 and 1; variances 1 and 1
    assert standardised(first, second, True) == pytest.approx(1.0)
    assert standardised(first, second, False) == pytest.approx(-1.0)
    assert standardised(np.ones((2, 2)), np.zeros((2, 2)), True) is None


def test_resampled_differences_equal_a_loop() -> None:
    differences = np.random.default_rng(0).normal(size=(2, 7))
    rows = np.random.default_rng([3, 0]).integers(7, size=(5, 7))
    expected = [[math.fsum(differences[s][r] for r in drawn) / 7 for s in range(2)] for drawn in rows]
    np.testing.assert_allclose(resampled_differences(differences, Draws(7, 5, 3)), expected)

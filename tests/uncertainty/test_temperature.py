"""Temperature: found where it was lost, never worse than none, and what it does to probabilities that stand for several."""

import math

import numpy as np
import pytest

from predgen.uncertainty.temperature import HIGHEST, LOWEST, fit_temperature, log_loss_at, tempered


def drawn(seed: int, n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.dirichlet(np.ones(k), size=n)
    return truth, (truth.cumsum(axis=1) > rng.random(n)[:, None]).argmax(axis=1)


@pytest.mark.parametrize("lost", [0.4, 1.0, 2.5])
def test_the_temperature_at_which_answers_were_drawn_is_found(lost: float) -> None:
    truth, right = drawn(0, 4000, 4)
    assert fit_temperature(list(tempered(truth, lost)), right.tolist()) == pytest.approx(1 / lost, rel=0.08)


@pytest.mark.parametrize("seed", range(3))
def test_log_loss_is_the_least_of_a_fine_grid_and_never_above_that_of_none(seed: int) -> None:
    truth, right = drawn(seed, 60, 3)
    rows = list(tempered(truth, 0.5))
    found = fit_temperature(rows, right.tolist())
    losses = [log_loss_at(t, rows, right.tolist()) for t in np.geomspace(LOWEST, HIGHEST, 100)]
    assert log_loss_at(found, rows, right.tolist()) <= min(*losses, log_loss_at(1.0, rows, right.tolist())) + 1e-9


def test_rows_of_different_widths_are_fitted_together() -> None:
    first, second = drawn(1, 300, 3), drawn(2, 300, 5)
    rows = [row for pair in zip(tempered(first[0], 0.5), tempered(second[0], 0.5), strict=True) for row in pair]
    right = [int(r) for pair in zip(first[1], second[1], strict=True) for r in pair]
    found = fit_temperature(rows, right)
    losses = {t: log_loss_at(t, rows, right) for t in (found / 1.02, found, found * 1.02)}
    assert min(losses, key=losses.__getitem__) == found


def test_always_right_and_always_wrong_end_at_the_ends() -> None:
    assert LOWEST <= fit_temperature([np.array([0.9, 0.1])] * 50, [0] * 50) < 2 * LOWEST  # the loss is flat there
    assert HIGHEST / 2 < fit_temperature([np.array([0.9, 0.1])] * 50, [1] * 50) <= HIGHEST


def test_order_sums_and_zeros_stay() -> None:
    row = np.array([0.5, 0.0, 0.3, 0.2])
    for temperature in (0.3, 1.0, 4.0):
        told = tempered(row, temperature)
        assert told.sum() == pytest.approx(1.0, abs=1e-12)
        assert told[1] == 0.0
        assert np.argsort(told).tolist() == np.argsort(row).tolist()
    assert tempered(row, 1.0) is row


def test_what_stands_for_several_equal_ones_is_tempered_as_they_are() -> None:
    each = np.array([0.1, 0.1, 0.1, 0.4, 0.3])
    together = tempered(np.array([0.3, 0.4, 0.3]), 2.0, np.array([3.0, 1.0, 1.0]))
    one_by_one = tempered(each, 2.0)
    np.testing.assert_allclose(together, [one_by_one[:3].sum(), *one_by_one[3:]], rtol=1e-12)


def test_underflow_is_finite() -> None:
    told = tempered(np.array([1.0, 1e-320]), 20.0)
    assert 0 < told[1] < 1e-10 or told[1] == pytest.approx(math.exp(-708 / 20), rel=0.1)
    assert math.isfinite(fit_temperature([np.array([1.0, 0.0])] * 50, [1] + [0] * 49))

"""Calibration facts, against loops, scikit-learn and hand calculations."""

from typing import Any

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from compare import factory
from predgen.findings.calibration import N_BINS, calibration, residuals
from predgen.findings.runs import Run
from predgen.records import Predictions, Record


def run_of(kind: str, predictions: Predictions) -> Run:
    task = {"classification": "sst2", "regression": "sick"}[kind]
    record = Record("r", task, kind, "v", 0, "final", "done")
    return Run(record, factory.measurement(task, predictions))


def binary_run(seed: int, n_rows: int = 200) -> Run:
    generator = np.random.default_rng(seed)
    p = np.round(generator.random(n_rows), 3)
    target = np.where(generator.random(n_rows) < 0.2 + 0.6 * p, "positive", "negative").tolist()
    value = np.where(p > 0.5, "positive", "negative").tolist()
    table = np.stack([1 - p, p], axis=1).tolist()
    return run_of("classification", Predictions(list(range(n_rows)), target, value, table, ["negative", "positive"]))


def columns(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """P(positive), and whether positive is right."""
    p = run.measurement.predictions
    return np.array(p.probabilities)[:, 1], np.array([t == "positive" for t in p.target])


def test_scores_equal_scikit_learns() -> None:
    runs = [binary_run(1), binary_run(2)]
    found = calibration(runs)
    assert found is not None
    brier = [2 * brier_score_loss(right, p) for p, right in map(columns, runs)]  # both labels of a row are off alike
    assert found.brier == pytest.approx(np.mean(brier), rel=1e-9)
    assert found.log_loss == pytest.approx(np.mean([log_loss(right, p) for p, right in map(columns, runs)]), rel=1e-9)


def test_bins_equal_scikit_learns_calibration_curve() -> None:
    run = binary_run(3)
    p, positive = columns(run)
    confidence, right = np.maximum(p, 1 - p), np.where(p > 0.5, positive, ~positive)
    accuracy, mean_confidence = calibration_curve(right, confidence, n_bins=N_BINS)
    found = calibration([run])
    assert found is not None
    full = [b for b in found.bins if b.rows]
    np.testing.assert_allclose([b.accuracy for b in full], accuracy)
    np.testing.assert_allclose([b.confidence for b in full], mean_confidence)
    assert sum(b.rows for b in found.bins) == 200
    assert [b.accuracy for b in found.bins if not b.rows] == [None] * 5  # two labels: never below 0.5


def test_ece_by_hand() -> None:
    # confidence 0.95 twice, one right: |0.5 - 0.95| = 0.45; confidence 0.6 twice, both right: |1 - 0.6| = 0.4
    table = [[0.95, 0.05], [0.95, 0.05], [0.6, 0.4], [0.6, 0.4]]
    p = Predictions(
        [0, 1, 2, 3],
        ["negative", "positive", "negative", "negative"],
        ["negative"] * 4,
        table,
        ["negative", "positive"],
    )
    found = calibration([run_of("classification", p)])
    assert found is not None
    assert found.ece == pytest.approx(0.425)
    assert (found.bins[9].low, found.bins[9].high, found.bins[9].rows) == (0.9, 1.0, 2)
    assert found.bins[5].rows == 2  # 0.6 belongs to (0.5, 0.6]


def test_ece_is_a_mean_over_runs_and_bins_hold_all_runs() -> None:
    runs = [binary_run(seed) for seed in (1, 2, 3)]
    found, apart = calibration(runs), [calibration([run]) for run in runs]
    assert found is not None
    assert found.ece == pytest.approx(np.mean([one.ece for one in apart if one is not None]))
    assert sum(b.rows for b in found.bins) == 600


def test_a_true_label_without_a_column_has_probability_zero() -> None:
    p = Predictions([0], ["new"], ["negative"], [[1.0, 0.0]], ["negative", "positive"])
    found = calibration([run_of("classification", p)])
    assert found is not None
    assert found.brier == 2.0  # (1 - 0)^2 for the wrong label, (0 - 1)^2 for the right one
    assert found.log_loss == pytest.approx(36.04, abs=0.01)


def test_no_probabilities_no_calibration() -> None:
    p = Predictions([0, 1], ["negative"] * 2, ["negative"] * 2)
    assert calibration([binary_run(1), run_of("classification", p)]) is None
    assert calibration([]) is None


def numbers(target: list[float], value: list[Any], **more: Any) -> Run:
    return run_of("regression", Predictions(list(range(len(target))), target, value, **more))


def test_residuals_by_hand() -> None:
    interval = [[0.0, 2.0], [3.0, 4.0], [2.0, 5.0], [4.0, 4.5]]
    first = numbers([1.0, 2.0, 3.0, 4.0], [1.5, 2.5, 3.0, None], interval=interval)
    second = numbers([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], interval=interval)
    found = residuals([first, second])
    assert found is not None
    assert found.bias == pytest.approx((1 / 3 + 0) / 2)
    assert found.spread == pytest.approx(np.std([0.5, 0.5, 0.0]) / 2)
    assert found.coverage == 0.75  # 2.0 lies outside 3..4; 4.0 on the edge counts
    assert found.width == pytest.approx((2 + 1 + 3 + 0.5) / 4)
    assert found.points == [[1.0, 1.5], [2.0, 2.5], [3.0, 3.0]]


def test_residuals_without_intervals_have_no_coverage() -> None:
    found = residuals([numbers([1.0, 2.0], [1.0, 3.0])])
    assert found is not None
    assert (found.coverage, found.width) == (None, None)


def test_nothing_read_no_residuals() -> None:
    assert residuals([numbers([1.0], [None])]) is None
    assert residuals([]) is None

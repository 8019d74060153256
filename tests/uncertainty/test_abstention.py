"""Saying nothing: thresholds keep what they promise, over many samples; curves and their area against plain loops."""

import math

import numpy as np
import pytest

from predgen.errors import ConfigError
from predgen.metrics.probabilities import AURC, error_by_coverage
from predgen.uncertainty.abstention import N_POINTS, RISK, curve, threshold_for_error, threshold_of
from predgen.uncertainty.record import CalibrationRecord


def sample(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Confidence, and whether the label is right: somewhat too sure, right more often where it is surer."""
    rng = np.random.default_rng(seed)
    sure = rng.uniform(0.3, 1.0, n)
    return sure, rng.random(n) < sure**1.3


def record_of(sure: np.ndarray, right: np.ndarray) -> CalibrationRecord:
    return CalibrationRecord(len(sure), confidence=tuple(sure.tolist()), right=tuple(map(bool, right)))


def true_error(least: float) -> float:
    """Of what is answered, in the limit: 1 - mean of c^1.3 over c in least..1."""
    c = np.linspace(max(least, 0.3), 1.0, 20_001)
    return float(1 - (c**1.3).mean())


@pytest.mark.parametrize("max_error", [0.1, 0.2])
def test_the_promised_error_is_broken_no_more_often_than_its_risk(max_error: float) -> None:
    n_samples, broken, answered = 200, 0, []
    for seed in range(n_samples):
        try:
            found = threshold_for_error(record_of(*sample(seed, 400)), max_error)
        except ConfigError:
            continue
        broken += true_error(found.confidence) > max_error
        answered.append(found.answered)
    assert broken <= RISK * n_samples + 3 * math.sqrt(RISK * (1 - RISK) * n_samples)
    assert len(answered) > n_samples / 2, "a guarantee that is never given is none"
    assert np.mean(answered) > 0.05


def test_all_rows_are_answered_where_all_are_right() -> None:
    found = threshold_for_error(record_of(np.linspace(0.4, 1, 100), np.ones(100, dtype=bool)), 0.05)
    assert (found.confidence, found.answered, found.error) == (0.0, 1.0, 0.0)


def test_what_cannot_be_proved_is_told_with_what_could() -> None:
    with pytest.raises(
        ConfigError, match=r"`max_error` 0\.001 cannot be promised by the 100 .* the least that a threshold could"
    ):
        threshold_for_error(record_of(*sample(0, 100)), 0.001)


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, math.nan])
def test_shares_out_of_range_are_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="`max_error` is"):
        threshold_for_error(record_of(*sample(0, 100)), share)
    if share not in (0.0, 1.0):
        with pytest.raises(ConfigError, match="`min_confidence` is"):
            threshold_of(None, share)


def test_a_chosen_threshold_is_described_where_there_are_rows() -> None:
    record = record_of(np.array([0.9, 0.7, 0.5, 0.8]), np.array([True, False, True, True]))
    found = threshold_of(record, 0.7)
    assert (found.max_error, found.answered, found.error) == (None, 0.75, pytest.approx(1 / 3))
    assert threshold_of(None, 0.7).error is None
    assert threshold_of(record, 0.95).error is None


def test_equal_confidences_are_answered_together_or_not_at_all() -> None:
    sure = np.array([0.9] * 60 + [0.6] * 60)
    right = np.array([True] * 60 + [False] * 60)
    found = threshold_for_error(record_of(sure, right), 0.1)
    assert found.answered == 0.5
    assert 0.6 < found.confidence <= 0.9


@pytest.mark.parametrize("seed", range(3))
def test_area_and_curve_are_those_of_a_plain_loop(seed: int) -> None:
    sure, right = sample(seed, 40)
    sure = sure.round(1)  # ties
    wanted = []
    for least in sorted(sure.tolist(), reverse=True):
        answered = sure >= least
        wanted.append(1 - right[answered].mean())
    np.testing.assert_allclose(error_by_coverage(sure, right), wanted)
    labels = ["x", "y"]
    told = [[c, 1 - c] if c >= 0.5 else [1 - c, c] for c in sure]
    said = ["x" if c >= 0.5 else "y" for c in sure]
    truth = [s if r else {"x": "y", "y": "x"}[s] for s, r in zip(said, right, strict=True)]
    assert AURC(truth, said, told, labels) == pytest.approx(np.mean(wanted))
    points = curve(sure, right)
    assert len(points) == N_POINTS
    assert points[-1]["error"] == pytest.approx(1 - right.mean())
    assert curve(np.empty(0), np.empty(0, dtype=bool)) == []

"""Raw numbers, what is written and what heads learn: exact both ways, inside the range."""

import math
import statistics
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from predgen.errors import ConfigError, DataError
from predgen.target_scale import MAX_KNOTS, TargetScale

PRICES = [3.99, 12.5, 45.62, 94.18, 115.46, 399.0, 2647.0]


def test_standardised_numbers_keep_their_digits_at_an_offset() -> None:
    targets = [1.7e9 + 10 * k for k in range(6)]
    scale = TargetScale.of(targets)
    # mean offset 25; population std of 0, 10 .. 50 is sqrt(1750 / 6) = 17.078
    wanted = [(10 * k - 25) / math.sqrt(1750 / 6) for k in range(6)]
    assert [scale.standardised(target) for target in targets] == pytest.approx(wanted, rel=1e-12)
    assert wanted[-1] == pytest.approx(1.4639, abs=1e-4)
    singles = np.array([scale.standardised(target) for target in targets], dtype=np.float32)
    assert [scale.of_head(float(s))[0] for s in singles] == pytest.approx(targets, rel=0, abs=1e-5)


@pytest.mark.parametrize("transform", ["none", "log", "quantile"])
def test_inverse_gives_the_targets_back(transform: str) -> None:
    scale = TargetScale.of(PRICES, transform)
    assert [scale.raw(scale.written(price)) for price in PRICES] == pytest.approx(PRICES, rel=1e-12)
    written = scale.writtens(np.array(PRICES))
    assert scale.mean == pytest.approx(statistics.fmean(written.tolist()))
    assert scale.std == pytest.approx(statistics.pstdev(written.tolist()))
    assert (np.diff(written) > 0).all()


FINITE = st.floats(-1e9, 1e9, allow_subnormal=False)


@given(st.lists(FINITE, min_size=2, max_size=40), st.lists(FINITE, min_size=1, max_size=20), st.data())
@settings(max_examples=150, deadline=None)
def test_every_transform_rises_and_stays_inside_the_range(
    targets: list[float], asked: list[float], data: st.DataObject
) -> None:
    assume(max(targets) - min(targets) > 1e-3)
    transform = data.draw(st.sampled_from(["none", "log", "quantile"]))
    if transform == "log":
        targets = [abs(target) + 1e-3 for target in targets]
        assume(max(targets) - min(targets) > 1e-3)
    low = data.draw(st.none() | st.just(min(targets) - 7.0)) if transform != "log" else None
    high = data.draw(st.none() | st.just(max(targets) + 7.0))
    scale = TargetScale.of(targets, transform, low, high)
    written = np.sort(np.array([number / 1e8 for number in asked]))
    raws = scale.raws(written)
    assert (np.diff(raws) >= -1e-14 * np.abs(raws).max()).all()
    assert np.isfinite(raws).all()
    if low is not None:
        assert raws.min() >= low
    if high is not None:
        assert raws.max() <= high
    if min(targets) >= 0 and low is None:
        assert raws.min() >= 0
    if transform == "quantile":
        assert min(targets) - 7 <= raws.min()
        assert raws.max() <= max(targets) + 7
    inside = [t for t in targets if math.isfinite(scale.written(t))]
    assert len(inside) == len(targets)
    assert [scale.raw(scale.written(t)) for t in targets] == pytest.approx(targets, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize(
    ("targets", "low", "high"),
    [([0.0, 5.0], 0.0, None), ([1.0, 5.0], 0.0, None), ([-5.0, 0.0], None, 0.0), ([-1.0, 1.0], None, None)],
)
def test_no_prediction_has_a_sign_that_no_target_has(
    targets: list[float], low: float | None, high: float | None
) -> None:
    scale = TargetScale.of(targets)
    assert (scale.low, scale.high) == (low, high)
    value, is_clipped = scale.of_head(-1e3)
    assert (value, is_clipped) == ((0.0, True) if low is not None else (scale.mean - 1e3 * scale.std, False))


def test_declared_ends_replace_those_of_the_targets() -> None:
    scale = TargetScale.of([1.0, 5.0], minimum=-2.0, maximum=6.0)
    assert [scale.of_head(s)[0] for s in (-100.0, 0.0, 100.0)] == [-2.0, 3.0, 6.0]


def test_quantile_gives_normal_scores_of_the_ranks() -> None:
    scale = TargetScale.of([1.0, 10.0, 10.0, 1e7], "quantile")
    normal = statistics.NormalDist()
    # ranks (1 - 0.5) / 4; the middle of 2 and 3, (2.5 - 0.5) / 4; (4 - 0.5) / 4
    assert dict(scale.knots) == pytest.approx(
        {1.0: normal.inv_cdf(0.125), 10.0: normal.inv_cdf(0.5), 1e7: normal.inv_cdf(0.875)}
    )
    assert scale.raw(normal.inv_cdf(0.125) / 2) == pytest.approx(5.5)  # halfway between the first two
    assert scale.written(0.99) == -math.inf
    assert scale.written(1.1e7) == math.inf


def test_quantile_reaches_declared_ends() -> None:
    scale = TargetScale.of([1.0, 2.0, 3.0], "quantile", 0.0, 3.0)
    assert [raw for raw, _ in scale.knots] == [0.0, 1.0, 2.0, 3.0]
    assert scale.of_head(-1e6) == (0.0, True)


def test_quantile_keeps_a_bounded_number_of_targets() -> None:
    scale = TargetScale.of([float(i) ** 2 for i in range(5000)], "quantile")
    assert len(scale.knots) == MAX_KNOTS
    assert (scale.knots[0][0], scale.knots[-1][0]) == (0.0, 4999.0**2)


@pytest.mark.parametrize("value", [0.0, -2.0])
def test_log_refuses_what_has_no_logarithm(value: float) -> None:
    with pytest.raises(DataError, match=rf"'log'.* 1 of 3 .*{value:g}.*'quantile'"):
        TargetScale.of([1.0, 2.0, value], "log")


@pytest.mark.parametrize("transform", ["none", "log", "quantile"])
def test_equal_targets_are_refused(transform: str) -> None:
    with pytest.raises(DataError, match="all 3 training targets are 2;"):
        TargetScale.of([2.0] * 3, transform)


@pytest.mark.parametrize(
    "damage",
    [
        {"std": 0.0},
        {"std": math.nan},
        {"mean": math.inf},
        {"low": math.nan},
        {"transform": "cube"},
        {"transform": "quantile"},
        {"knots": ((0.0, 1.0), (1.0, 2.0))},
        {"transform": "quantile", "knots": ((0.0, 1.0), (1.0, 0.5))},
        {"transform": "quantile", "knots": ((1.0, 0.0), (1.0, 0.5))},
    ],
)
def test_damaged_scales_are_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"target_transform|damaged"):
        TargetScale(**damage)


@pytest.mark.parametrize("transform", ["none", "log"])
def test_weights_count_like_repeated_rows(transform: str) -> None:
    weighted = TargetScale.of([1.0, 4.0, 9.0], transform, weights=[3.0, 1.0, 2.0])
    repeated = TargetScale.of([1.0, 1.0, 1.0, 4.0, 9.0, 9.0], transform)
    assert (weighted.mean, weighted.std) == pytest.approx((repeated.mean, repeated.std), rel=1e-12)
    assert TargetScale.of([1.0, 4.0, 9.0], weights=[0.1] * 3) == TargetScale.of([1.0, 4.0, 9.0])

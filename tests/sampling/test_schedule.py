import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predgen.registries import schedules
from predgen.sampling.schedule import SamplingSchedule, linear

NAMES = list(schedules)
ROUNDING = 1e-15  # a few units in the last place of 1
every_name = pytest.mark.parametrize("name", NAMES)
bounds = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


@every_name
def test_rise_runs_from_zero_to_one(name: str) -> None:
    rise = schedules.get(name)
    assert rise(0.0) == pytest.approx(0.0, abs=ROUNDING)
    assert rise(1.0) == pytest.approx(1.0, abs=ROUNDING)


@every_name
@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 1))
def test_rise_is_monotone_and_stays_within_zero_and_one(name: str, a: float, b: float) -> None:
    low, high = sorted((a, b))
    rise = schedules.get(name)
    assert -ROUNDING <= rise(low) <= rise(high) + ROUNDING <= 1.0 + 2 * ROUNDING
    if high - low > 1e-3:
        assert rise(low) < rise(high)


@every_name
@settings(deadline=None)
@given(bounds, st.integers(1, 2000), st.integers(0, 4000))
def test_probability_stays_between_its_bounds_and_ends_at_p_max(name: str, p: list[float], steps: int, at: int) -> None:
    schedule = SamplingSchedule(schedules.get(name), p[0], p[1], steps)
    assert schedule.probability(0) == pytest.approx(p[0], abs=ROUNDING)
    assert schedule.probability(steps) == pytest.approx(p[1], abs=ROUNDING)
    assert schedule.probability(at + steps) == schedule.probability(steps)  # it stays there
    assert p[0] - ROUNDING <= schedule.probability(at) <= p[1] + ROUNDING
    assert schedule.probability(at) <= schedule.probability(at + 1) + ROUNDING


@every_name
def test_p_of_exactly_one_is_reached(name: str) -> None:
    # p = 1 means own tokens only; anything below would let gold through.
    assert SamplingSchedule(schedules.get(name), 0.0, 1.0, 7).probability(7) == 1.0
    assert SamplingSchedule(schedules.get(name), 0.0, 1.0, 7).probability(0) == 0.0


@pytest.mark.parametrize(
    ("name", "step", "expected"),
    [
        ("linear", 125, 0.2 + 0.6 * 0.25),  # a quarter of 500 steps: a quarter of the way from 0.2 to 0.8
        ("exponential", 250, 0.2 + 0.6 * (1 - math.exp(-2.5)) / (1 - math.exp(-5))),
        ("inverse_sigmoid", 250, 0.5),  # symmetric: half-way at half time
    ],
)
def test_hand_calculated_probabilities(name: str, step: int, expected: float) -> None:
    assert SamplingSchedule(schedules.get(name), 0.2, 0.8, 500).probability(step) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(st.floats(0, 1))
def test_inverse_sigmoid_is_symmetric(x: float) -> None:
    rise = schedules.get("inverse_sigmoid")
    assert rise(x) + rise(1 - x) == pytest.approx(1.0, abs=1e-12)


def test_equal_bounds_give_a_constant() -> None:
    assert {SamplingSchedule(linear, 0.3, 0.3, 10).probability(step) for step in range(20)} == {0.3}

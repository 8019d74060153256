"""Point and distribution are one: a head's number moves what the writer says to it, inside the range."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from method_cases import Case, batch_of, make
from predgen.core import Decoding, Prediction
from predgen.distribution import Distribution
from predgen.models.answers import directed, shifted
from predgen.target_scale import TargetScale

LEVELS = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
TARGETS = [3.99, 12.5, 45.62, 94.18, 115.46, 399.0, 2647.0]
SCALES = {
    "none": TargetScale.of(TARGETS),
    "unbounded": TargetScale.of([-5.0, 9.0, 700.0]),
    "declared": TargetScale.of(TARGETS, "none", 1.0, 3000.0),
    "log": TargetScale.of(TARGETS, "log"),
    "log, declared": TargetScale.of(TARGETS, "log", 1.0, 3000.0),
    "quantile": TargetScale.of(TARGETS, "quantile"),
    "offset": TargetScale.of([1.7e9 + target for target in TARGETS]),
}


def written_by(scale: TargetScale, weights: list[int]) -> Distribution:
    """Numbers between the least and the greatest target, in equal written steps."""
    low, high = sorted(scale.mean + side * 2 * scale.std for side in (-1, 1))
    support = scale.raws(np.linspace(max(low, scale.ends[0]), min(high, scale.ends[1]), len(weights)))
    return Distribution(support, np.array(weights) / sum(weights))


@pytest.mark.parametrize("name", SCALES)
@given(st.lists(st.integers(0, 9), min_size=2, max_size=30).filter(any), st.floats(-6, 6))
@settings(max_examples=60, deadline=None)
def test_a_heads_number_is_the_mean_of_the_distribution_beside_it(
    name: str, weights: list[int], standardised: float
) -> None:
    scale = SCALES[name]
    before = written_by(scale, weights)
    found = directed(Prediction(0.0, distribution=before), standardised, scale)
    numbers = found.distribution
    assert isinstance(found.value, float)
    assert numbers is not None
    span = float(np.ptp(before.support)) + abs(found.value)
    assert numbers.mean() == pytest.approx(found.value, abs=1e-9 * span)
    assert numbers.quantile(0.0) - 1e-9 * span <= found.value <= numbers.quantile(1.0) + 1e-9 * span
    quantiles = [numbers.quantile(level) for level in LEVELS]
    assert quantiles == sorted(quantiles)
    assert (np.diff(numbers.support) > 0).all()
    assert numbers.probabilities.sum() == pytest.approx(1.0)
    if scale.low is not None:
        assert quantiles[0] >= scale.low
    if scale.high is not None:
        assert quantiles[-1] <= scale.high
    assert numbers.shift == pytest.approx(found.value - before.mean(), abs=1e-9 * span)
    is_outside = not scale.ends[0] <= scale.mean + standardised * scale.std <= scale.ends[1]
    assert ("clipped" in found.flags) == is_outside


def test_numbers_that_stay_inside_all_move_alike() -> None:
    numbers = Distribution(np.array([1.0, 2.0, 4.0]), np.array([0.25, 0.5, 0.25]), 0.01, 0.3, 7)
    found = shifted(numbers, 3.25, TargetScale())  # the mean was 2.25
    assert found.support.tolist() == [2.0, 3.0, 5.0]
    assert found.probabilities.tolist() == [0.25, 0.5, 0.25]
    assert (found.shift, found.unexpanded, found.mean_error, found.nodes) == (1.0, 0.01, 0.0, 7)


def test_numbers_that_meet_the_end_of_the_range_stop_there() -> None:
    numbers = Distribution(np.array([1.0, 2.0, 9.0]), np.array([0.25, 0.25, 0.5]))  # mean 5.25
    found = shifted(numbers, 2.0, TargetScale(low=0.0))
    # A step of -5 sends 1 and 2 to 0 and 9 to 4: 0.5 * 0 + 0.5 * 4 = 2.
    assert found.support.tolist() == pytest.approx([0.0, 4.0])
    assert found.probabilities.tolist() == pytest.approx([0.5, 0.5])


def test_logarithms_move_by_a_factor() -> None:
    numbers = Distribution(np.array([1.0, 10.0, 100.0]), np.array([0.25, 0.5, 0.25]))
    found = shifted(numbers, 3 * numbers.mean(), TargetScale(transform="log"))
    assert found.support.tolist() == pytest.approx([3.0, 30.0, 300.0], rel=1e-12)


@pytest.mark.parametrize(("sampling", "max_tree_nodes"), [("token", 1000), ("token", 5), ("marginal", 1000)])
def test_a_model_with_a_head_has_one_distribution(sampling: str, max_tree_nodes: int) -> None:
    case = Case("predgen", "regression", "value", sampling, max_tree_nodes=max_tree_nodes)
    model, batch = make(case), batch_of("regression")
    plain = model.predict(batch)
    own = model.predict(batch, Decoding(distribution=True, max_unexpanded=0.0))
    written = model.predict(batch, Decoding("greedy", distribution=True, max_unexpanded=0.0))
    assert [p.value for p in own] == pytest.approx([p.value for p in plain], abs=1e-5)
    moved = 0
    for mine, theirs in zip(own, written, strict=True):
        assert mine.distribution is not None
        assert theirs.distribution is not None
        assert mine.distribution.mean() == pytest.approx(mine.value, abs=1e-9)
        assert mine.distribution.shift == pytest.approx(mine.value - theirs.distribution.mean(), abs=1e-5)
        np.testing.assert_allclose(mine.distribution.probabilities, theirs.distribution.probabilities, atol=1e-5)
        assert theirs.distribution.shift == 0.0
        moved += abs(mine.distribution.shift) > 0.01
    assert moved  # a random head says something else than the writer


@pytest.mark.parametrize("how", [None, "greedy", "argmax", "mean", "median"])
@pytest.mark.parametrize("director", ["value", "ordered", "expected"])
def test_every_point_lies_in_its_own_distribution(how: str | None, director: str) -> None:
    model = make(Case("predgen", "regression", director, "token"))
    for found in model.predict(batch_of("regression"), Decoding(how, distribution=True)):
        numbers = found.distribution
        assert numbers is not None
        assert isinstance(found.value, float)
        assert numbers.quantile(0.0) <= found.value <= numbers.quantile(1.0)
        means = {None: director in ("value", "expected"), "mean": True}
        if means.get(how, False):
            assert found.value == pytest.approx(numbers.mean(), abs=1e-9)
        if how == "median":
            assert found.value == numbers.median()
        if how == "argmax":
            assert found.value == numbers.mode()
        if how == "greedy" or (how is None and director == "ordered"):
            assert found.value in numbers.support

"""Directors `crps`, `reward` and `nll` against plain loops and finite differences."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from predgen.directors.base import Director, DirectorInput, DirectorSetup
from predgen.directors.crps import CrpsDirector, crps
from predgen.directors.nll import NllDirector
from predgen.directors.reward import RewardDirector, costs_of
from predgen.directors.settings import RewardSettings
from predgen.errors import ConfigError

NUMBERS = DirectorSetup(4, 0, 0.0, 1.0)
CLASSES = DirectorSetup(4, 3, 0.0, 1.0)
VALUES = (-1.5, -1.0, 0.25, 2.0)  # cells of unlike widths


def seen(log_probs: Tensor, target: list[float], values: tuple[float, ...] | None = None) -> DirectorInput:
    """Rows as a director of the distribution sees them; gold answers are the last ones."""
    rows, flags = len(log_probs), torch.ones(len(log_probs), 1, dtype=torch.bool)
    return DirectorInput(
        torch.zeros(rows, 1, 4),
        flags,
        torch.zeros(rows, 1),
        flags,
        flags,
        torch.tensor(target, dtype=log_probs.dtype),
        log_probs,
        None if values is None else torch.tensor(values, dtype=log_probs.dtype),
        torch.full((rows,), log_probs.shape[1] - 1),
    )


def some_log_probs(answers: int, rows: int = 5) -> Tensor:
    torch.manual_seed(3)
    return torch.randn(rows, answers, dtype=torch.float64).mul(2).log_softmax(dim=1)


def energy_form(probabilities: list[float], values: list[float], target: float) -> float:
    """E|Y - y| - E|Y - Y'| / 2 (Gneiting and Raftery 2007, equation 21)."""
    pairs = list(zip(probabilities, values, strict=True))
    apart = math.fsum(p * abs(v - target) for p, v in pairs)
    among = math.fsum(p * q * abs(v - w) for p, v in pairs for q, w in pairs)
    return apart - among / 2


TARGETS = [-1.0, 0.3, -1.2, -4.0, 3.5]  # on the grid, between its numbers, and beyond either end


@pytest.mark.parametrize("values", [VALUES, VALUES[::-1], (0.0,), (1.0, 1.0, 2.0)])
def test_crps_is_the_energy_form_of_the_score(values: tuple[float, ...]) -> None:
    log_probs = some_log_probs(len(values))
    found = CrpsDirector(NUMBERS).loss(seen(log_probs, TARGETS, values)).tolist()
    for value, row, target in zip(found, log_probs.exp().tolist(), TARGETS, strict=True):
        assert value == pytest.approx(energy_form(row, list(values), target), abs=1e-12)


def test_crps_is_the_integral_over_a_fine_grid() -> None:
    log_probs, step = some_log_probs(len(VALUES)), 1e-3
    found = CrpsDirector(NUMBERS).loss(seen(log_probs, TARGETS, VALUES)).tolist()
    points = [(k + 0.5) * step - 6.0 for k in range(12_000)]
    for value, row, target in zip(found, log_probs.exp().tolist(), TARGETS, strict=True):
        below = [sum(p for p, v in zip(row, VALUES, strict=True) if v <= x) for x in points]
        total = math.fsum(step * (f - (target <= x)) ** 2 for f, x in zip(below, points, strict=True))
        assert value == pytest.approx(total, abs=2 * step)


def test_crps_of_a_certain_number_is_its_absolute_error() -> None:
    certain = torch.full((5, 4), -math.inf, dtype=torch.float64)
    certain[:, 2] = 0.0
    found = CrpsDirector(NUMBERS).loss(seen(certain, TARGETS, VALUES)).tolist()
    assert found == pytest.approx([abs(VALUES[2] - target) for target in TARGETS], abs=1e-12)


def test_crps_is_least_for_the_distribution_that_targets_come_from() -> None:
    true = torch.tensor([0.5, 0.2, 0.2, 0.1], dtype=torch.float64)

    def mean_score(told: Tensor) -> float:
        scores = crps(told.expand(4, -1), torch.tensor(VALUES, dtype=torch.float64), torch.tensor(VALUES).double())
        return float(true @ scores)

    least = mean_score(true)
    for other in some_log_probs(4, 20).exp():
        assert mean_score(other) > least
        assert mean_score(0.99 * true + 0.01 * other) > least


def test_crps_of_levels_is_the_ranked_probability_score() -> None:
    log_probs, target = some_log_probs(3, 3), [0.0, 1.0, 2.0]
    found = CrpsDirector(CLASSES).loss(seen(log_probs, target)).tolist()
    for value, row, level in zip(found, log_probs.exp().tolist(), target, strict=True):
        at_most = [math.fsum(row[: k + 1]) for k in range(3)]
        assert value == pytest.approx(math.fsum((f - (level <= k)) ** 2 for k, f in enumerate(at_most)), abs=1e-12)


def test_a_far_level_costs_more_than_a_near_one() -> None:
    near, far = torch.tensor([[0.1, 0.8, 0.1]]).log(), torch.tensor([[0.1, 0.1, 0.8]]).log()
    costs = [float(CrpsDirector(CLASSES).loss(seen(row, [0.0]))) for row in (near, far)]
    assert costs[0] < costs[1]
    assert math.isclose(float(NllDirector(CLASSES).loss(seen(near, [0.0]))), -math.log(0.1), rel_tol=1e-6)


COSTS = "0 1 2.5; 4 0 1; 0.5 3 0"


def test_reward_is_the_mean_cost_of_answers_drawn_from_the_distribution() -> None:
    log_probs, target = some_log_probs(3, 3), [0.0, 1.0, 2.0]
    found = RewardDirector(CLASSES, RewardSettings(reward_costs=COSTS)).double().loss(seen(log_probs, target)).tolist()
    table = [[0.0, 1.0, 2.5], [4.0, 0.0, 1.0], [0.5, 3.0, 0.0]]
    for value, row, right in zip(found, log_probs.exp().tolist(), target, strict=True):
        assert value == pytest.approx(math.fsum(p * table[a][int(right)] for a, p in enumerate(row)), abs=1e-6)


def test_reward_is_the_error_rate_where_no_costs_are_given() -> None:
    log_probs, target = some_log_probs(3, 3), [0.0, 1.0, 2.0]
    found = RewardDirector(CLASSES, RewardSettings()).double().loss(seen(log_probs, target))
    right = log_probs.exp()[torch.arange(3), torch.tensor([0, 1, 2])]
    torch.testing.assert_close(found, 1 - right, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    "text", ["", "0 1; 1 0", "0 1 1; 1 0 1; 1 1 -1", "0 1 1; 1 0 1; 1 1 nan", "0 a 1; 1 0 1; 1 1 0"]
)
def test_costs_that_are_no_matrix_are_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        costs_of(text, 3)
    assert "`reward_costs`" in str(error.value)
    assert repr(text) in str(error.value)
    assert "3 rows" in str(error.value)


def test_nll_is_the_log_of_the_gold_answers_probability() -> None:
    log_probs = some_log_probs(4)
    found = NllDirector(NUMBERS).loss(seen(log_probs, TARGETS, VALUES)).tolist()
    assert found == pytest.approx([-row[3] for row in log_probs.tolist()], abs=0)


@pytest.mark.parametrize(
    ("director", "values"),
    [
        (CrpsDirector(NUMBERS), VALUES[:3]),
        (CrpsDirector(CLASSES), None),
        (RewardDirector(CLASSES, RewardSettings(reward_costs=COSTS)).double(), None),
        (NllDirector(CLASSES), None),
        (NllDirector(NUMBERS), VALUES[:3]),
    ],
    ids=lambda part: type(part).__name__,
)
def test_gradients_match_finite_differences(director: Director, values: tuple[float, ...] | None) -> None:
    torch.manual_seed(4)
    logits = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    target = [0.0, 1.0, 2.0] if values is None else TARGETS[:3]
    rows = seen(some_log_probs(3, 3), target, values)

    def loss(scores: Tensor) -> Tensor:
        return director.loss(replace(rows, log_probs=scores.log_softmax(dim=1)))

    assert torch.autograd.gradcheck(loss, (logits,), eps=1e-6, atol=1e-7)

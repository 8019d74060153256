"""MINE: bound, gradient correction and row terms, beside loops and hand formulas."""

import math

import numpy as np
import pytest
import torch

from predgen.analysis.estimators.mine import (
    MineCritics,
    bound_influence,
    corrected_loss,
    donsker_varadhan,
    log_mean_exp,
    moving_average,
    spread_shifts,
)


def fixed_network(folds: int = 2) -> tuple[MineCritics, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    network = MineCritics(folds, 2, 1, generator)
    with torch.no_grad():
        for weights in network.parameters():
            weights *= 3
    return network, torch.randn(folds, 7, 2, generator=generator), torch.randn(folds, 7, 1, generator=generator)


def statistic(network: MineCritics, fold: int, z: torch.Tensor, y: torch.Tensor) -> float:
    """T of one pair, from the weights: w silu(W (z, y) + a) + b."""
    inside = torch.cat([z, y]) @ network.hidden.weight[fold] + network.hidden.bias[fold, 0]
    hidden = inside * torch.sigmoid(inside)
    return float(hidden @ network.output.weight[fold, :, 0] + network.output.bias[fold, 0, 0])


def test_bound_of_a_fixed_network_as_in_plain_loops() -> None:
    network, z, y = fixed_network()
    with torch.no_grad():
        found = network.bound(z, y)  # 7 rows: all 6 shifts, so every pair of different rows
        for fold in range(2):
            joint = [statistic(network, fold, z[fold, i], y[fold, i]) for i in range(7)]
            others = [
                math.exp(statistic(network, fold, z[fold, i], y[fold, j])) for i in range(7) for j in range(7) if i != j
            ]
            assert len(others) == 42
            expected = sum(joint) / 7 - math.log(sum(others) / 42)
            assert found[fold].item() == pytest.approx(expected, abs=1e-5)
            assert abs(expected) > 0.01


def test_shifted_scores_pair_each_z_with_an_earlier_y() -> None:
    network, z, y = fixed_network()
    with torch.no_grad():
        joint, shifted = network.scores(z, y, [1, 5])
        assert (joint.shape, shifted.shape) == ((2, 7), (2, 2, 7))
        assert joint[1, 3].item() == pytest.approx(statistic(network, 1, z[1, 3], y[1, 3]), abs=1e-5)
        assert shifted[1, 0, 3].item() == pytest.approx(statistic(network, 1, z[1, 3], y[1, 2]), abs=1e-5)
        assert shifted[1, 1, 3].item() == pytest.approx(statistic(network, 1, z[1, 3], y[1, 5]), abs=1e-5)


def test_gradient_as_in_the_hand_formula() -> None:
    # T = w f, so that grad T = f: -(E[f] - E[e^(w f) f] / average).
    weight = torch.tensor(0.7, requires_grad=True)
    on_rows, on_shifted = torch.tensor([[1.0, -2.0]]), torch.tensor([[[0.5, 1.5], [2.0, -1.0]]])
    average = 3.0
    loss = corrected_loss(weight * on_rows, weight * on_shifted, torch.tensor([math.log(average)]))
    loss.sum().backward()
    weighted = sum(math.exp(0.7 * f) * f for f in (0.5, 1.5, 2.0, -1.0)) / 4
    assert weight.grad is not None
    assert weight.grad.item() == pytest.approx(-((1.0 - 2.0) / 2 - weighted / average), abs=1e-6)


def test_gradient_with_the_batchs_own_mean_is_that_of_the_bound() -> None:
    network, z, y = fixed_network()
    joint, shifted = network.scores(z, y, [1, 2, 3])
    corrected = corrected_loss(joint, shifted, log_mean_exp(shifted.detach())).sum()
    plain = -donsker_varadhan(joint, shifted).sum()
    weights = list(network.parameters())
    for one, other in zip(
        torch.autograd.grad(corrected, weights, retain_graph=True), torch.autograd.grad(plain, weights), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)
    assert any(float(g.abs().max()) > 1e-3 for g in torch.autograd.grad(network.bound(z, y).sum(), weights))


def test_average_moves_by_a_hundredth() -> None:
    first = moving_average(None, torch.tensor([math.log(2.0)]))
    assert first.exp().item() == pytest.approx(2.0)
    assert moving_average(first, torch.tensor([math.log(4.0)])).exp().item() == pytest.approx(0.99 * 2 + 0.01 * 4)


def test_training_keeps_the_average_of_all_steps() -> None:
    network, z, y = fixed_network()
    network.generator = torch.Generator().manual_seed(1)
    network.loss(z, y)
    first = network.log_average
    network.loss(z + 1, y)
    assert first is not None
    assert network.log_average is not None
    assert not network.log_average.requires_grad
    assert not torch.equal(first, network.log_average)
    assert float((first - network.log_average).abs().max()) < 0.05


def test_row_terms_are_what_more_weight_on_a_row_changes() -> None:
    generator = torch.Generator().manual_seed(0)
    n, shifts = 6, [1, 2, 3, 4, 5]
    joint = torch.randn(n, generator=generator).double()
    shifted = torch.randn(5, n, generator=generator).double()
    terms = bound_influence(joint, shifted, shifts)
    bound = donsker_varadhan(joint[None], shifted[None])[0]
    assert terms.mean().item() == pytest.approx(bound.item(), abs=1e-12)

    def weighted_bound(weights: np.ndarray) -> float:
        pairs = {(i, (i - s) % n): shifted[k, i].item() for k, s in enumerate(shifts) for i in range(n)}
        total = sum(weights[i] * weights[j] * math.exp(t) for (i, j), t in pairs.items())
        return float(weights @ joint.numpy() - math.log(total / sum(weights[i] * weights[j] for i, j in pairs)))

    # With all pairs of different rows weighed alike, the sum over pairs is (1 - sum w^2) and adds no first-order change.
    for row in range(n):
        step = 1e-6 * (np.eye(n)[row] - 1 / n)
        slope = (weighted_bound(1 / n + step) - weighted_bound(1 / n - step)) / 2e-6
        assert slope == pytest.approx((terms[row] - terms.mean()).item(), abs=1e-6)


def test_shifts_are_spread_evenly_and_never_zero() -> None:
    assert spread_shifts(5, 10) == [1, 2, 3, 4]
    shifts = spread_shifts(1000, 100)
    assert len(shifts) == len(set(shifts)) == 100
    assert (shifts[0], shifts[-1]) == (1, 999)
    assert max(np.diff(shifts)) <= 11

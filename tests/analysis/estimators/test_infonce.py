"""InfoNCE: the contrast beside plain loops, and its cap."""

import math

import numpy as np
import pytest
import torch

from predgen.analysis.estimators.infonce import InfoNce, InfoNceCritics, batch_sizes, contrast, contrast_influence
from predgen.analysis.estimators.settings import RepeatedSettings


def test_contrast_as_in_plain_loops() -> None:
    scores = torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(0))
    found = contrast(scores)
    for fold in range(2):
        for i in range(5):
            share = math.exp(scores[fold, i, i]) / sum(math.exp(scores[fold, i, j]) for j in range(5))
            assert found[fold, i].item() == pytest.approx(math.log(5) + math.log(share), abs=1e-5)


def test_scores_are_products_of_both_networks() -> None:
    critics = InfoNceCritics(2, 3, 1, torch.Generator().manual_seed(0))
    z, y = torch.randn(2, 4, 3), torch.randn(2, 4, 1)
    with torch.no_grad():
        scores, u, v = critics.scores(z, y), critics.of_z(z), critics.of_y(y)
    assert scores[1, 2, 3].item() == pytest.approx(float(u[1, 2] @ v[1, 3]) / 8, abs=1e-5)


def test_bound_is_the_mean_over_batches_and_of_the_row_terms() -> None:
    critics = InfoNceCritics(1, 1, 1, torch.Generator().manual_seed(0))
    z = torch.randn(1, 600, 1)
    with torch.no_grad():
        first, second = (contrast(critics.scores(side, side))[0] for side in (z[:, :300], z[:, 300:]))
        bound = critics.bound(z, z).item()
        assert bound == pytest.approx(torch.cat([first, second]).mean().item(), abs=1e-6)
        assert critics.row_terms(z, z).mean().item() == pytest.approx(bound, abs=1e-6)


def test_row_terms_are_what_more_weight_on_a_row_changes() -> None:
    n = 6
    scores = torch.randn(n, n, generator=torch.Generator().manual_seed(0)).double()
    terms = contrast_influence(scores)

    def weighted_bound(weights: np.ndarray) -> float:
        f = scores.numpy()
        return float(sum(weights[i] * (f[i, i] - math.log(weights @ np.exp(f[i]))) for i in range(n)))

    for row in range(n):
        step = 1e-6 * (np.eye(n)[row] - 1 / n)
        slope = (weighted_bound(1 / n + step) - weighted_bound(1 / n - step)) / 2e-6
        assert slope == pytest.approx((terms[row] - terms.mean()).item(), abs=1e-6)


@pytest.mark.parametrize(("n", "sizes"), [(1, [1]), (512, [512]), (513, [257, 256]), (1300, [434, 433, 433])])
def test_batches_hold_all_rows_and_are_of_one_size(n: int, sizes: list[int]) -> None:
    assert batch_sizes(n) == sizes


def test_estimate_stays_below_its_cap() -> None:
    z = np.random.default_rng(0).normal(size=(150, 1))  # y = z: infinite information
    found = InfoNce(RepeatedSettings(repeats=1)).estimate(z, z)
    assert found.details["cap_nats"] == pytest.approx(math.log(30))  # a fifth of 150 rows
    assert 1.0 < found.nats <= found.details["cap_nats"]

"""Channels: what is drawn has the information that is claimed, by a second route."""

import math

import numpy as np
import pytest

from predgen.analysis.channels import (
    binary_symmetric_channel,
    correlated_gaussians,
    exclusive_or,
    gaussian_mixture,
    lognormals,
)


@pytest.mark.parametrize("dim", [1, 2, 5, 10])
@pytest.mark.parametrize("nats", [0.0, 0.5, 2.0])
def test_gaussians_have_the_correlation_of_their_information(dim: int, nats: float) -> None:
    channel = correlated_gaussians(dim, nats)
    z, y = channel.draw(20_000, np.random.default_rng(0))
    assert (z.shape, y.shape, channel.dim, channel.true_nats) == ((20_000, dim), (20_000, dim), dim, nats)
    correlations = np.corrcoef(np.hstack([z, y]).T)
    # The determinants of the drawn rows, columns of one side being independent: I = -0.5 log det R.
    assert -0.5 * np.linalg.slogdet(correlations)[1] == pytest.approx(nats, abs=0.04)
    across = correlations[:dim, dim:]
    assert np.abs(across - np.diag(np.diag(across))).max() < 0.03


def test_bits_are_flipped_as_often_as_said() -> None:
    channel = binary_symmetric_channel(0.2)
    z, y = channel.draw(50_000, np.random.default_rng(0))
    assert set(np.unique(z)) == {0.0, 1.0}
    assert np.mean(z[:, 0] != y) == pytest.approx(0.2, abs=0.007)
    assert y.mean() == pytest.approx(0.5, abs=0.009)
    table = np.array([[0.4, 0.1], [0.1, 0.4]])
    assert channel.true_nats == pytest.approx((table * np.log(table / 0.25)).sum())


@pytest.mark.parametrize("distance", [0.5, 2.0, 6.0])
def test_mixture_as_averaged_over_draws(distance: float) -> None:
    channel = gaussian_mixture(4, distance)
    z, y = channel.draw(40_000, np.random.default_rng(0))
    along = z.sum(axis=1) / 2  # projection on the line through the means
    log_odds = distance * along * np.where(y == 1, 1, -1)
    drawn = math.log(2) - np.logaddexp(0, -log_odds)  # log p(y|z) - log p(y)
    assert channel.true_nats == pytest.approx(drawn.mean(), abs=4 * drawn.std() / 200)
    assert (channel.dim, z.shape) == (4, (40_000, 4))


def test_lognormals_are_the_gaussians_seen_through_e_to_the_x() -> None:
    plain, bent = correlated_gaussians(3, 1.5), lognormals(3, 1.5)
    (z, y), (bent_z, bent_y) = (c.draw(100, np.random.default_rng(0)) for c in (plain, bent))
    np.testing.assert_allclose(np.log(bent_z), z)
    np.testing.assert_allclose(np.log(bent_y), y)
    assert (bent.true_nats, bent.dim) == (plain.true_nats, 3)


@pytest.mark.parametrize("distance", [1.0, 4.0])
def test_exclusive_or_as_averaged_over_draws(distance: float) -> None:
    channel = exclusive_or(distance)
    z, y = channel.draw(40_000, np.random.default_rng(0))
    near = [np.exp(-((z - side * distance / 2) ** 2) / 2) for side in (-1, 1)]  # densities of each column, bit 0 and 1
    same = near[0].prod(axis=1) + near[1].prod(axis=1)
    either = near[0][:, 0] * near[1][:, 1] + near[1][:, 0] * near[0][:, 1]
    drawn = math.log(2) + np.log(np.where(y == 1, either, same) / (same + either))
    assert channel.true_nats == pytest.approx(drawn.mean(), abs=4 * drawn.std() / 200)
    assert channel.dim == 2

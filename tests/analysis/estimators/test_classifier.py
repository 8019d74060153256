"""The classifier bound: beside exact channels, scipy's densities, and where it is no bound."""

import math

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from predgen.analysis.channels import binary_symmetric_channel, correlated_gaussians
from predgen.analysis.estimators.classifier import Classifier, normal_log_density
from predgen.analysis.estimators.settings import FoldedSettings


def counted_information(z: np.ndarray, y: np.ndarray) -> float:
    """I of the table of counts."""
    table = np.array([[np.mean((z == a) & (y == b)) for b in np.unique(y)] for a in np.unique(z)])
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0)
    return float((table * np.log(table / expected)).sum())


def test_discrete_channel_as_counted() -> None:
    z, y = binary_symmetric_channel(0.1).draw(3000, np.random.default_rng(0))
    found = Classifier(FoldedSettings(repeats=1)).estimate(z, y)
    assert found.nats == pytest.approx(counted_information(z[:, 0], y), abs=0.003)  # one weight, one intercept to fit
    assert found.details["kind"] == "lower bound"


def test_several_classes_as_counted() -> None:
    generator = np.random.default_rng(0)
    y = generator.choice(3, p=[0.5, 0.3, 0.2], size=3000)
    symbol = np.where(generator.random(3000) < 0.3, generator.integers(0, 3, 3000), y)
    one_hot = np.eye(3)[symbol]
    found = Classifier(FoldedSettings(repeats=1)).estimate(one_hot, y)
    assert found.nats == pytest.approx(counted_information(symbol, y), abs=0.01)


def test_normal_numbers_as_r_squared_says() -> None:
    z, y = correlated_gaussians(1, 1.0).draw(3000, np.random.default_rng(0))
    r = np.corrcoef(z[:, 0], y[:, 0])[0, 1]
    assert Classifier(FoldedSettings(repeats=1)).estimate(z, y).nats == pytest.approx(
        -0.5 * math.log(1 - r**2), abs=0.003
    )


def test_several_columns_of_y_use_their_covariance() -> None:
    generator = np.random.default_rng(0)
    z = generator.normal(size=(3000, 2))
    noise = generator.normal(size=(3000, 1))
    y = z + 0.5 * noise + 0.1 * generator.normal(size=(3000, 2))  # the columns' errors are nearly one
    residual = 0.25 * np.ones((2, 2)) + 0.01 * np.eye(2)
    truth = 0.5 * (np.linalg.slogdet(np.eye(2) + residual)[1] - np.linalg.slogdet(residual)[1])
    assert Classifier(FoldedSettings(repeats=1)).estimate(z, y).nats == pytest.approx(truth, abs=0.06)
    by_column = 2 * 0.5 * math.log(1.26 / 0.26)
    assert abs(truth - by_column) > 0.5


def test_density_as_in_scipy() -> None:
    generator = np.random.default_rng(0)
    sample, points = generator.normal(size=(50, 3)) @ generator.normal(size=(3, 3)), generator.normal(size=(7, 3))
    theirs = multivariate_normal(np.zeros(3), sample.T @ sample / 50).logpdf(points)
    np.testing.assert_allclose(normal_log_density(points, sample), theirs, atol=1e-10)


def test_no_bound_where_y_is_not_normal_as_the_docs_warn() -> None:
    generator = np.random.default_rng(0)
    y = generator.choice([-1.0, 1.0], size=(2000, 1))
    z = y + 0.1 * generator.normal(size=y.shape)
    found = Classifier(FoldedSettings(repeats=1)).estimate(z, y)
    assert found.nats > math.log(2) + 1  # though I <= H(Y) = log 2
    assert "normally distributed" in found.details["kind"]


def test_curved_dependence_is_not_found() -> None:
    z = np.random.default_rng(0).normal(size=(1000, 1))
    assert abs(Classifier(FoldedSettings(repeats=1)).estimate(z, z**2).nats) < 0.1
    assert abs(Classifier(FoldedSettings(repeats=1)).estimate(z, (np.abs(z[:, 0]) > 0.7).astype(int)).nats) < 0.01

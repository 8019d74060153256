"""KSG: beside plain loops over all rows, and beside scikit-learn."""

import numpy as np
import pytest
from scipy.special import digamma
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

from predgen.analysis.channels import binary_symmetric_channel, correlated_gaussians, gaussian_mixture
from predgen.analysis.estimators.ksg import Ksg
from predgen.analysis.estimators.settings import NeighbourSettings
from predgen.errors import ConfigError, DataError


def max_distances(values: np.ndarray) -> np.ndarray:
    scaled = (values - values.mean(axis=0)) / values.std(axis=0)
    return np.array([[np.abs(a - b).max() for b in scaled] for a in scaled])


def kraskov_by_loops(z: np.ndarray, y: np.ndarray, k: int) -> float:
    in_z, in_y = max_distances(z), max_distances(y)
    terms = []
    for i in range(len(z)):
        others = [j for j in range(len(z)) if j != i]
        e = sorted(max(in_z[i, j], in_y[i, j]) for j in others)[k - 1]
        n_z, n_y = (sum(side[i, j] < e for j in others) for side in (in_z, in_y))
        terms.append(digamma(n_z + 1) + digamma(n_y + 1))
    return float(digamma(k) + digamma(len(z)) - np.mean(terms))


def ross_by_loops(z: np.ndarray, y: np.ndarray, k: int) -> float:
    in_z, terms = max_distances(z), []
    for i in range(len(z)):
        others = [j for j in range(len(z)) if j != i]
        e = sorted(in_z[i, j] for j in others if y[j] == y[i])[k - 1]
        m = sum(in_z[i, j] <= e for j in others)
        terms.append(digamma(m) + digamma((y == y[i]).sum()))
    return float(digamma(k) + digamma(len(z)) - np.mean(terms))


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("dim", [1, 3])
def test_numbers_as_in_plain_loops(dim: int, k: int) -> None:
    z, y = correlated_gaussians(dim, 0.8).draw(70, np.random.default_rng(0))
    assert Ksg(NeighbourSettings(neighbours=k)).estimate(z, y).nats == pytest.approx(
        kraskov_by_loops(z, y, k), abs=1e-9
    )


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("dim", [1, 3])
def test_classes_as_in_plain_loops(dim: int, k: int) -> None:
    z, y = gaussian_mixture(dim, 1.5).draw(70, np.random.default_rng(0))
    assert Ksg(NeighbourSettings(neighbours=k)).estimate(z, y).nats == pytest.approx(ross_by_loops(z, y, k), abs=1e-9)


def test_one_column_as_in_scikit_learn() -> None:
    z, y = correlated_gaussians(1, 0.8).draw(500, np.random.default_rng(0))
    theirs = mutual_info_regression(z, y[:, 0], n_neighbors=3, random_state=0)[0]
    assert Ksg().estimate(z, y).nats == pytest.approx(theirs, abs=1e-6)


def test_one_column_of_classes_as_in_scikit_learn() -> None:
    z, y = gaussian_mixture(1, 1.5).draw(500, np.random.default_rng(0))
    theirs = mutual_info_classif(z, y, discrete_features=False, n_neighbors=3, random_state=0)[0]
    assert Ksg().estimate(z, y).nats == pytest.approx(theirs, abs=1e-6)


def test_ties_are_split_without_changing_the_information() -> None:
    channel = binary_symmetric_channel(0.1)
    z, y = channel.draw(2000, np.random.default_rng(0))
    assert len(np.unique(z)) == 2
    assert Ksg().estimate(z, y).nats == pytest.approx(channel.true_nats, abs=0.05)
    scores = (z + np.random.default_rng(1).normal(size=z.shape)).round(1)  # a grid, as ratings are
    fine = z + 0.01 * np.random.default_rng(2).normal(size=z.shape)
    assert Ksg().estimate(fine, scores, seed=0).nats == pytest.approx(
        Ksg().estimate(fine, scores, seed=1).nats, abs=0.02
    )


def test_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    channel = correlated_gaussians(1, 0.5)
    found = [Ksg().estimate(*channel.draw(400, np.random.default_rng(s))) for s in range(40)]
    held = np.mean([f.low <= 0.5 <= f.high for f in found])  # type: ignore[operator]
    assert 0.8 <= held <= 1.0  # 95 % less what four parts leave unsaid; binomial spread 0.05
    widths = np.mean([f.high - f.low for f in found])  # type: ignore[operator]
    assert widths / (2 * 1.96) == pytest.approx(np.std([f.nats for f in found]), rel=0.35)


def test_no_interval_without_rows_for_it() -> None:
    z, y = correlated_gaussians(1, 0.5).draw(199, np.random.default_rng(0))
    assert (Ksg().estimate(z, y).low, Ksg().estimate(z, y).high) == (None, None)
    z, y = gaussian_mixture(1, 1.5).draw(300, np.random.default_rng(0))
    assert Ksg().estimate(z, (np.arange(300) < 15).astype(int)).low is None


def test_neighbours_must_be_there() -> None:
    z = np.random.default_rng(0).normal(size=(60, 1))
    y = np.where(np.arange(60) < 6, 0, 1)
    with pytest.raises(DataError, match=r"looks for 6 neighbours of a row among 6 .*set `neighbours` between 1"):
        Ksg(NeighbourSettings(neighbours=6)).estimate(z, y)
    with pytest.raises(ConfigError, match="`neighbours` is 0"):
        NeighbourSettings(neighbours=0)


def test_many_dimensions_fall_short_as_the_docs_warn() -> None:
    z, y = correlated_gaussians(10, 2.0).draw(500, np.random.default_rng(0))
    assert Ksg().estimate(z, y).nats < 1.0

"""PCA fitted on training rows: numpy's singular vectors, and what cannot be reduced."""

import numpy as np
import pytest

from predgen.analysis.reduction import fit_reduction, span
from predgen.errors import ConfigError, DataError


def vectors(rows: int, width: int, seed: int = 0) -> np.ndarray:
    """Rows with axes of falling variance, turned at random, far from 0."""
    rng = np.random.default_rng(seed)
    turned = np.linalg.qr(rng.normal(size=(width, width)))[0]
    return (rng.normal(size=(rows, width)) * 2.0 ** -np.arange(width) @ turned + 100).astype(np.float32)


@pytest.mark.parametrize(("rows", "width", "k"), [(60, 8, 3), (60, 8, 8), (10, 40, 9), (200, 30, 1)])
def test_components_are_those_of_the_singular_vectors(rows: int, width: int, k: int) -> None:
    train, test = vectors(rows, width), vectors(20, width, seed=1)
    mean = train.astype(np.float64).mean(axis=0)
    _, sizes, axes = np.linalg.svd(train - mean, full_matrices=False)
    reduction = fit_reduction(train, k, "rows")
    plain = (test - mean) @ axes[:k].T
    np.testing.assert_allclose(np.abs(reduction.reduced(test)), np.abs(plain), atol=1e-6)
    np.testing.assert_allclose(reduction.shares, (sizes**2 / (sizes**2).sum())[:k], rtol=1e-6)
    np.testing.assert_allclose(reduction.restored(reduction.reduced(test)), plain @ axes[:k] + mean, atol=1e-6)


def test_first_components_of_many_are_those_of_few() -> None:
    train = vectors(80, 20)
    many, few = fit_reduction(train, 12, "rows"), fit_reduction(train, 4, "rows")
    np.testing.assert_allclose(many.reduced(train)[:, :4], few.reduced(train), atol=1e-8)


@pytest.mark.parametrize(("rows", "width", "most"), [(10, 40, 9), (50, 6, 6)])
@pytest.mark.parametrize("k", [0, 41])
def test_more_components_than_there_are_name_the_most(rows: int, width: int, most: int, k: int) -> None:
    message = rf"`components` is {k}, but {rows} training rows of {width} numbers \(rows\) have between 1 and {most}"
    with pytest.raises(ConfigError, match=message):
        fit_reduction(vectors(rows, width), k, "rows")


def test_equal_rows_have_no_components() -> None:
    with pytest.raises(DataError, match=r"all 30 training rows have the same representation \(pooling first\)"):
        fit_reduction(np.ones((30, 5), dtype=np.float32), 1, "pooling first")


def test_rows_that_differ_by_rounding_are_equal() -> None:
    rows = np.full((30, 5), 3.0) + 1e-7 * np.random.default_rng(0).normal(size=(30, 5))
    with pytest.raises(DataError, match="all 30 training rows have the same representation"):
        fit_reduction(rows.astype(np.float32), 1, "rows")
    assert span(rows, 3).shape == (30, 0)


def test_axes_that_do_not_vary_are_counted() -> None:
    flat = np.zeros((30, 5), dtype=np.float32)
    flat[:, :2] = vectors(30, 2)
    assert fit_reduction(flat, 2, "rows").reduced(flat).shape == (30, 2)
    with pytest.raises(
        ConfigError, match=r"`components` is 3, but the training rows' representations \(rows\) vary along 2"
    ):
        fit_reduction(flat, 3, "rows")


def test_span_turns_rows_without_loss() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 64)) + 5
    found = span(rows, 10)
    assert found.shape == (40, 3)

    def distances(x: np.ndarray) -> np.ndarray:
        return np.linalg.norm(x[:, None] - x, axis=2)

    np.testing.assert_allclose(distances(found), distances(rows), atol=1e-9)
    assert span(rows, 2).shape == (40, 2)
    assert span(np.full((40, 64), 7.0), 10).shape == (40, 0)

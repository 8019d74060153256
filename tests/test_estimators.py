"""The scikit-learn contract of the estimators."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

import predgen
from predgen import PredGenClassifier, PredGenRegressor
from predgen.errors import ConfigError, DataError
from tiny_runs import tiny_base

TEXTS = ["the room was warm", "a dull book", "good wine", "no tea"] * 4


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_base(tmp_path_factory.mktemp("base")))


def classifier(base: str, **settings: object) -> PredGenClassifier:
    return PredGenClassifier(base, **{"max_steps": 1, "validation_fraction": 0, **settings})


@pytest.mark.parametrize("labels", [["yes", "no"], [3, 10], [True, False]])
def test_labels_come_back_as_they_were_given(base: str, labels: list[object]) -> None:
    y = np.array(labels * 8)
    model = classifier(base).fit(TEXTS, y)
    assert model.classes_.tolist() == sorted(labels)
    predicted = model.predict(TEXTS)
    assert predicted.dtype == y.dtype
    assert set(predicted.tolist()) <= set(labels)
    probabilities = model.predict_proba(TEXTS)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-9)
    # PredGen's prediction is the director's most probable label; columns follow classes_
    assert (model.classes_[probabilities.argmax(axis=1)] == predicted).all()
    assert model.score(TEXTS, y) == pytest.approx((predicted == y).mean())


def test_clone_and_get_params_round_trip(base: str) -> None:
    model = classifier(base, class_weight="balanced", settings={"rank": 2})
    copy = clone(model)
    assert copy is not model
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "trained_")


def test_grid_search_fits_every_candidate(base: str) -> None:
    search = GridSearchCV(classifier(base), {"method": ["generator", "predictor"]}, cv=2, error_score="raise")
    search.fit(TEXTS, ["a", "b"] * 8)
    assert len(search.cv_results_["params"]) == 2
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict(TEXTS[:2]).shape == (2,)


def test_regressor_on_a_table_saves_a_model_that_predicts_the_same(base: str, tmp_path: Path) -> None:
    table = pd.DataFrame({"title": TEXTS, "text": TEXTS[::-1]})
    model = PredGenRegressor(base, max_steps=1, prompt="{title}: {text} =").fit(table, np.arange(16) / 4)
    first = model.predict(table)
    assert first.shape == (16,)
    model.save(tmp_path / "run")
    loaded = predgen.load(tmp_path / "run")
    assert [p.value for p in loaded.predict(table)] == first.tolist()


def test_rows_of_weight_zero_are_not_trained_on(base: str) -> None:
    weights = np.array([1.0] * 12 + [0.0] * 4)
    first = PredGenRegressor(base, max_steps=1, validation_fraction=0).fit(TEXTS, np.arange(16.0), weights)
    assert first.trained_.report["train_rows"] == 12
    with pytest.raises(DataError, match="negative or non-finite"):
        first.fit(TEXTS, np.arange(16.0), -weights)


def test_class_weights_change_the_model(base: str) -> None:
    y = ["a"] * 12 + ["b"] * 4
    plain, weighted = (
        classifier(base, class_weight=w, max_steps=3).fit(TEXTS, y).predict_proba(TEXTS)
        for w in (None, {"a": 1, "b": 9})
    )
    assert not np.allclose(plain, weighted, atol=1e-6)


def test_bad_input_is_named(base: str) -> None:
    with pytest.raises(DataError, match="`X` has 16 rows, but `y` has 2"):
        classifier(base).fit(TEXTS, ["a", "b"])
    with pytest.raises(DataError, match="same label 'a'"):
        classifier(base).fit(TEXTS, ["a"] * 16)
    with pytest.raises(DataError, match="1 values that are not finite, the first in row 2"):
        PredGenRegressor(base).fit(TEXTS[:2], [1.0, float("nan")])
    with pytest.raises(ConfigError, match="unknown setting 'rnak'"):
        classifier(base, settings={"rnak": 2}).fit(TEXTS, ["a", "b"] * 8)
    with pytest.raises(ConfigError, match="parameters of the estimator"):
        classifier(base, settings={"epochs": 2}).fit(TEXTS, ["a", "b"] * 8)
    with pytest.raises(NotFittedError):
        classifier(base).predict(TEXTS)

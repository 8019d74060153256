"""The scikit-learn contract of the estimators."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

import predgen
from method_cases import plain_log_probs
from predgen import PredGenClassifier, PredGenRegressor
from predgen.data.examples import iter_examples
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


def test_a_class_whose_rows_all_have_weight_zero_stays_a_class(base: str) -> None:
    y = np.array(["a", "b", "c", "a"] * 4)
    model = classifier(base).fit(TEXTS, y, (y != "b").astype(float))
    assert model.classes_.tolist() == ["a", "b", "c"]
    assert model.trained_.report["train_rows"] == 12
    found = model.predict_proba(TEXTS[:3])
    assert found.shape == (3, 3)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-9)
    assert set(classifier(base, class_weight={"b": 0}).fit(TEXTS, y).classes_) == {"a", "b", "c"}
    with pytest.raises(DataError, match="1 class in the rows with weight \\('b'\\)"):
        classifier(base).fit(TEXTS, y, (y == "b").astype(float))


def test_class_weights_change_the_model(base: str) -> None:
    y = ["a"] * 12 + ["b"] * 4
    plain, weighted = (
        classifier(base, class_weight=w, max_steps=3).fit(TEXTS, y).predict_proba(TEXTS)
        for w in (None, {"a": 1, "b": 9})
    )
    assert not np.allclose(plain, weighted, atol=1e-6)


@pytest.mark.parametrize(
    ("X", "y", "named"),
    [
        (TEXTS, ["a", "b"], "`X` has 16 rows, but `y` has 2"),
        (TEXTS, ["a"] * 16, r"1 class in the rows with weight \('a'\)"),
        ([*TEXTS[:3], None, *TEXTS[4:]], ["a", "b"] * 8, "row 4: column 'text' is None"),
        ([], [], "`X` has 0 rows"),
        (TEXTS[:1], ["a"], "`X` has 1 rows"),
        (pd.DataFrame({"a.b": TEXTS}), ["a", "b"] * 8, r"`X` has the column 'a\.b'"),
        (
            pd.DataFrame({"tone": TEXTS}),
            pd.Series(["a", "b"] * 8, name="tone"),
            "`X` has the column 'tone'.*name of `y`",
        ),
    ],
)
def test_bad_rows_are_named(base: str, X: object, y: object, named: str) -> None:
    with pytest.raises(DataError, match=named):
        classifier(base).fit(X, y)


def test_bad_settings_are_named(base: str) -> None:
    for settings, named in (
        ({"rnak": 2}, "unknown setting 'rnak'"),
        ({"epochs": 2}, "parameters of the estimator"),
        ({"limit": 5}, "`settings` has limit"),
    ):
        with pytest.raises(ConfigError, match=named):
            classifier(base, settings=settings).fit(TEXTS, ["a", "b"] * 8)
    with pytest.raises(ConfigError, match=r"`validation_fraction` is 1\.5"):
        classifier(base, validation_fraction=1.5).fit(TEXTS, ["a", "b"] * 8)
    with pytest.raises(NotFittedError):
        classifier(base).predict(TEXTS)


# Exact probabilities, distributions and points


def regressor(base: str, **settings: object) -> PredGenRegressor:
    given = {"max_steps": 1, "validation_fraction": 0, "settings": {"decimals": 1}, **settings}
    return PredGenRegressor(base, **given).fit(TEXTS, np.arange(16) / 10)


@pytest.mark.parametrize("method", ["generator", "predgen"])
def test_probabilities_are_exact(base: str, method: str) -> None:
    model = classifier(base, method=method).fit(TEXTS, ["no", "not sure"] * 8)
    texts = [*TEXTS[:4], "a much longer text than all the others are"]
    found = model.predict_proba(texts)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-12)
    trained = model.trained_
    for row, text in enumerate(texts):
        alone = model.predict_proba([text])
        np.testing.assert_allclose(found[row], alone[0], atol=1e-5)
        if method == "generator":
            prompt = trained.encoder.encode(next(iter_examples([{"text": text}], trained.task)), with_answer=False)
            legal, _ = plain_log_probs(trained.model, prompt.prompt_ids, trained.model.codec)
            np.testing.assert_allclose(found[row], np.exp(legal), atol=1e-5)


def test_regressor_gives_distributions_quantiles_and_points(base: str) -> None:
    model = regressor(base)
    found = model.predict_distribution(TEXTS[:5])
    assert len(found) == 5
    for distribution in found:
        assert distribution.probabilities.sum() == pytest.approx(1.0, abs=1e-12)
        assert (np.diff(distribution.support) > 0).all()
        assert distribution.unexpanded == 0.0
    assert model.predict_quantiles(TEXTS[:5]).tolist() == [[d.quantile(q) for q in (0.05, 0.5, 0.95)] for d in found]
    assert model.predict_quantiles(TEXTS[:5], [0.3]).shape == (5, 1)
    points = {how: model.predict(TEXTS[:5], decode=how) for how in ("mean", "median", "argmax", "greedy")}
    own = model.predict(TEXTS[:5])  # the director's number, to which the written ones move
    np.testing.assert_allclose(own, [d.mean() for d in found], atol=1e-6)
    np.testing.assert_allclose(points["mean"], own, atol=1e-6)
    assert points["median"].tolist() == [d.median() for d in found]
    assert points["argmax"].tolist() == [d.mode() for d in found]
    assert all(d.quantile(0.0) <= value <= d.quantile(1.0) for value, d in zip(own, found, strict=True))
    grid = set(model.trained_.encoder.codec.grid.tolist())
    assert set(points["greedy"].tolist()) <= grid  # what is written; the others moved with the director's number
    assert not set(own.tolist()) <= grid


@pytest.mark.parametrize(("metric", "wanted"), [("mae", "median"), ("mse", "mean"), (None, "mean")])
def test_best_point_follows_the_metric(base: str, metric: str | None, wanted: str) -> None:
    model = regressor(base, settings={"decimals": 1} | ({"metric": metric} if metric else {}))
    best, mean, median = (model.predict(TEXTS, decode=how) for how in ("best", "mean", "median"))
    assert best.tolist() == {"mean": mean, "median": median}[wanted].tolist()
    assert mean.tolist() != median.tolist()


def test_what_has_no_distribution_is_refused(base: str) -> None:
    model = regressor(base, method="predictor", settings=None)
    for ask in (
        lambda: model.predict_distribution(TEXTS[:2]),
        lambda: model.predict_quantiles(TEXTS[:2]),
        lambda: model.predict(TEXTS[:2], decode="mean"),
    ):
        with pytest.raises(ConfigError, match="a predictor writes nothing"):
            ask()
    writing = regressor(base, method="generator")
    with pytest.raises(ConfigError, match=r"quantile level 1\.2 is outside 0\.\.1"):
        writing.predict_quantiles(TEXTS[:2], [0.5, 1.2])
    with pytest.raises(ConfigError, match=r"unknown decoding 'medain'\. Did you mean 'median'"):
        writing.predict(TEXTS[:2], decode="medain")


def test_large_grid_keeps_its_bound(base: str) -> None:
    model = regressor(base, settings={"decimals": 3, "max_tree_nodes": 20})
    exact, loose = (model.predict_distribution(TEXTS[:3], max_unexpanded=bound) for bound in (0.0, 0.2))
    assert all(d.unexpanded == 0.0 for d in exact)
    assert 0 < max(d.unexpanded for d in loose) <= 0.2
    for one, other in zip(exact, loose, strict=True):
        assert abs(one.mean() - other.mean()) <= other.mean_error + 1e-6
        assert other.nodes < one.nodes

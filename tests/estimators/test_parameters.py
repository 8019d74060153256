"""Parameters by scikit-learn's rules: settings one by one, seeds of every kind, columns that are remembered."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from predgen import PredGenClassifier, PredGenRegressor
from predgen.errors import ConfigError, DataError
from tiny_runs import tiny_base

TEXTS = ["the room was warm", "a dull book", "good wine", "no tea"] * 2
LABELS = ["a", "b"] * 4


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_base(tmp_path_factory.mktemp("base")))


def classifier(base: str, **settings: object) -> PredGenClassifier:
    return PredGenClassifier(base, **{"max_steps": 1, "validation_fraction": 0, **settings})


def test_settings_are_set_one_by_one() -> None:
    first = PredGenClassifier(settings={"rank": 2})
    second = clone(first).set_params(settings__rank=4, settings__dtype="bfloat16", epochs=1)
    assert second.settings == {"rank": 4, "dtype": "bfloat16"}
    assert (second.get_params()["settings__rank"], second.epochs) == (4, 1)
    assert first.settings == {"rank": 2}
    assert PredGenClassifier().set_params(settings__rank=4).settings == {"rank": 4}
    assert "settings__rank" not in first.get_params(deep=False)
    with pytest.raises(ConfigError, match=r"`settings__rnak` names no setting.*'rank'"):
        first.set_params(settings__rnak=4)


def test_grid_search_goes_over_settings(base: str) -> None:
    search = GridSearchCV(classifier(base), {"settings__rank": [1, 3]}, cv=2, error_score="raise").fit(TEXTS, LABELS)
    assert [p["settings__rank"] for p in search.cv_results_["params"]] == [1, 3]
    best = search.best_estimator_
    assert best.trained_.config.rank == search.best_params_["settings__rank"]


def test_seed_is_an_int_a_generator_or_nobodys_choice(base: str) -> None:
    def seed(state: int | np.random.RandomState | None) -> int:
        return int(classifier(base, random_state=state).fit(TEXTS[:4], LABELS[:4]).trained_.config.seed)

    assert seed(7) == 7
    drawn = np.random.RandomState(7).randint(2**31 - 1)
    assert seed(np.random.RandomState(7)) == drawn
    assert seed(None) != seed(None)


def test_columns_of_a_frame_are_remembered_and_found_by_name(base: str) -> None:
    table = pd.DataFrame({"title": TEXTS, "n": range(8)})
    model = PredGenRegressor(base, max_steps=1, validation_fraction=0).fit(table, np.arange(8.0))
    assert (model.n_features_in_, model.feature_names_in_.tolist()) == (2, ["title", "n"])
    wanted = model.predict(table).tolist()
    assert model.predict(table.assign(other=1)[["other", "n", "title"]]).tolist() == wanted
    with pytest.warns(UserWarning, match="valid feature names"):
        assert model.predict(table.to_numpy(dtype=object)).tolist() == wanted
    with pytest.raises(DataError, match="X has 1 features, but PredGenRegressor is expecting 2"):
        model.predict([["a"]])
    with pytest.raises(DataError, match="missing column 'n'"):
        model.predict(table[["title"]])


def test_arrays_go_by_position(base: str) -> None:
    cells = np.array([TEXTS, LABELS], dtype=object).T
    model = classifier(base, prompt="{x1}: {x0} =").fit(cells, LABELS)
    assert model.n_features_in_ == 2
    assert not hasattr(model, "feature_names_in_")
    rows = [{"x0": text, "x1": label} for text, label in cells]
    assert (model.predict_proba(cells) == model.predict_proba(rows)).all()
    assert (model.predict_proba(cells) == model.predict_proba(cells.tolist())).all()


def test_nothing_to_predict_gives_nothing(base: str) -> None:
    model = classifier(base).fit(TEXTS, np.array(LABELS))
    assert model.predict([]).tolist() == []
    assert model.predict([]).dtype == model.classes_.dtype
    assert model.predict_proba(np.empty((0, 1))).shape == (0, 2)
    regressor = PredGenRegressor(base, max_steps=1, validation_fraction=0).fit(TEXTS, np.arange(8.0))
    assert regressor.predict(pd.DataFrame({"text": []})).shape == (0,)
    assert regressor.predict_quantiles([]).shape == (0, 3)

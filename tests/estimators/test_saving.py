"""A fitted estimator, saved and loaded: the same classes, columns, parameters and predictions."""

import enum
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

import predgen
from predgen import PredGenClassifier, PredGenRegressor
from predgen.errors import ConfigError, SavedModelError
from tiny_runs import tiny_base, tiny_data, tiny_run

TEXTS = ["the room was warm", "a dull book", "good wine", "no tea"] * 4


class Tone(enum.Enum):
    POOR = "poor"
    GOOD = "good"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_base(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def fitted(base: str) -> PredGenClassifier:
    """A classifier of table rows, with parameters of many kinds."""
    table = pd.DataFrame({"title": TEXTS, "stars": range(16)})
    model = PredGenClassifier(
        base,
        method="generator",
        prompt="{title} {stars} =",
        max_steps=1,
        validation_fraction=0.25,
        class_weight={10: 2.0},
        random_state=3,
        settings={"rank": 2, "max_length": 128},
    )
    return model.fit(table, np.array([3, 10] * 8))


@pytest.fixture(scope="module")
def folder(fitted: PredGenClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted.save(tmp_path_factory.mktemp("saved") / "run")


def test_loaded_estimator_is_the_fitted_one(fitted: PredGenClassifier, folder: Path) -> None:
    loaded = PredGenClassifier.load(folder)
    table = pd.DataFrame({"stars": [1, 2], "title": ["tea", "good wine"]})  # in another order
    assert loaded.get_params() == fitted.get_params()
    assert loaded.classes_.tolist() == [3, 10]
    assert loaded.classes_.dtype == fitted.classes_.dtype
    assert (loaded.predict(table) == fitted.predict(table)).all()
    assert (loaded.predict_proba(table) == fitted.predict_proba(table)).all()
    assert loaded.feature_names_in_.tolist() == ["title", "stars"]
    assert loaded.n_features_in_ == 2
    again = clone(loaded).fit(pd.DataFrame({"title": TEXTS, "stars": range(16)}), np.array([3, 10] * 8))
    assert (again.predict_proba(table) == fitted.predict_proba(table)).all()


@pytest.mark.parametrize(
    ("labels", "classes"),
    [(["b", "a"], ["a", "b"]), ([True, False], [False, True]), ([Tone.GOOD, Tone.POOR], ["poor", "good"])],
)
def test_classes_come_back_in_their_type(base: str, tmp_path: Path, labels: list[Any], classes: list[Any]) -> None:
    model = PredGenClassifier(base, max_steps=1, validation_fraction=0).fit(TEXTS, labels * 8)
    loaded = PredGenClassifier.load(model.save(tmp_path / "run"))
    assert loaded.classes_.tolist() == classes
    assert [type(label) for label in loaded.classes_.tolist()] == [type(label) for label in classes]
    predicted = loaded.predict(TEXTS[:4]).tolist()
    own = {Tone.GOOD: "good", Tone.POOR: "poor"}  # what stands for members, whose class no folder can bring along
    assert predicted == [own.get(label, label) for label in model.predict(TEXTS[:4]).tolist()]


def test_pickled_estimator_predicts_the_same(fitted: PredGenClassifier) -> None:
    table = pd.DataFrame({"title": ["tea"], "stars": [1]})
    assert (pickle.loads(pickle.dumps(fitted)).predict_proba(table) == fitted.predict_proba(table)).all()


def test_runs_that_no_estimator_made_become_estimators(base: str, tmp_path: Path) -> None:
    run = tiny_run(Path(base), "regression", tiny_data("regression"), max_steps=1).save(tmp_path / "run")
    loaded = PredGenRegressor.load(run)
    texts = ["the room was warm", "good wine"]
    assert loaded.predict(texts).tolist() == [p.value for p in predgen.load(run).predict([{"text": t} for t in texts])]
    assert (loaded.prompt, loaded.n_features_in_, loaded.max_steps) == ("{text} =", 1, 1)
    assert clone(loaded).fit(TEXTS, np.arange(16.0)).predict(texts).shape == (2,)
    with pytest.raises(ConfigError, match="holds a regression model, but PredGenClassifier"):
        PredGenClassifier.load(run)


def test_loaded_model_takes_what_fit_took(base: str, tmp_path: Path) -> None:
    run = PredGenRegressor(base, prompt="So: {line} =", max_steps=1, validation_fraction=0).fit(TEXTS, np.arange(16.0))
    loaded = predgen.load(run.save(tmp_path / "run"))
    wanted = run.predict(TEXTS[:2]).tolist()
    for rows in (TEXTS[:2], np.array(TEXTS[:2]), pd.Series(TEXTS[:2]), [{"line": text} for text in TEXTS[:2]]):
        assert [p.value for p in loaded.predict(rows)] == wanted
    assert loaded.predict([]) == []
    assert json.loads(json.dumps(loaded.predict(TEXTS[:2])[0].to_dict()))["value"] == wanted[0]


@pytest.mark.parametrize(
    "change", [{"columns": []}, {"has_names": 1}, {"validation_fraction": 1.5}, {"class_weight": [1]}, {"more": 1}]
)
def test_damaged_facts_of_the_fit_are_refused(folder: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    copy = predgen.load(folder)
    copy.report["fit"] |= change
    with pytest.raises(SavedModelError, match=r"report\.fit"):
        PredGenClassifier.load(copy.save(tmp_path / "run"))

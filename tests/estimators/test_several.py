"""Several columns of `y`, by scikit-learn's conventions for multioutput and multilabel."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.metrics import r2_score

from predgen import PredGenClassifier, PredGenRegressor
from predgen.errors import ConfigError, DataError
from tiny_runs import WORDS, tiny_base

TEXTS = [f"{WORDS[i % 6]} {i}" for i in range(24)]
MOODS, FLAGS = ["good", "bad"] * 12, [0, 1, 1] * 8
FAST: dict[str, Any] = {"max_steps": 2, "batch_size": 4, "method": "generator"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_base(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def classifier(base: str) -> PredGenClassifier:
    return PredGenClassifier(base, **FAST).fit(TEXTS, pd.DataFrame({"mood": MOODS, "flag": FLAGS}))


def test_predictions_have_a_column_for_each_target(classifier: PredGenClassifier) -> None:
    assert [own.tolist() for own in classifier.classes_] == [["bad", "good"], [0, 1]]
    assert classifier.n_outputs_ == 2
    told, probabilities = classifier.predict(TEXTS[:5]), classifier.predict_proba(TEXTS[:5])
    assert told.shape == (5, 2)
    assert [p.shape for p in probabilities] == [(5, 2), (5, 2)]
    for place, (own, p) in enumerate(zip(classifier.classes_, probabilities, strict=True)):
        np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-12)
        assert told[:, place].tolist() == own[p.argmax(axis=1)].tolist()
    y = np.array(list(zip(MOODS, FLAGS, strict=True)), dtype=object)
    assert classifier.score(TEXTS, y) == (classifier.predict(TEXTS) == y).all(axis=1).mean()


def test_a_fitted_estimator_is_saved_and_read_back(classifier: PredGenClassifier, tmp_path: Path) -> None:
    again = PredGenClassifier.load(classifier.save(tmp_path / "model"))
    assert again.predict(TEXTS).tolist() == classifier.predict(TEXTS).tolist()
    assert clone(again).get_params() == again.get_params()
    assert [own.tolist() for own in again.classes_] == [own.tolist() for own in classifier.classes_]
    with pytest.raises(ConfigError, match="classification"):
        PredGenRegressor.load(tmp_path / "model")


def test_numbers_of_several_targets(base: str) -> None:
    y = np.array([[i % 5, (i * 7) % 11] for i in range(24)], dtype=float)
    y[3, 1] = np.nan  # this row says nothing about the second target
    model = PredGenRegressor(base, **FAST).fit(TEXTS, y)
    told = model.predict(TEXTS)
    assert told.shape == (24, 2)
    known = y[[i for i in range(24) if i != 3]]
    assert model.score([t for i, t in enumerate(TEXTS) if i != 3], known) == pytest.approx(
        r2_score(known, np.delete(told, 3, axis=0))
    )
    assert model.trained_.report["targets"]["target_1"]["train_rows"] < model.trained_.report["train_rows"] + 1
    with pytest.raises(ConfigError, match="'target_0', 'target_1'"):
        model.predict_quantiles(TEXTS)


def test_weights_leave_rows_out(base: str) -> None:
    y = [[mood, flag] for mood, flag in zip(MOODS, FLAGS, strict=True)]
    weights = [0.0 if i < 4 else 1.0 + i for i in range(24)]
    model = PredGenClassifier(base, validation_fraction=0, **FAST).fit(TEXTS, y, sample_weight=weights)
    assert model.trained_.report["train_rows"] == 20
    assert model.trained_.report["validation_rows"] == 0


def test_columns_that_cannot_be_used_are_named(base: str) -> None:
    model = PredGenClassifier(base, **FAST)
    with pytest.raises(DataError, match=r"23 rows|`y` has 23"):
        model.fit(TEXTS, [[1, 2]] * 23)
    with pytest.raises(DataError, match=r"'target_1'.*no answer"):
        model.fit(TEXTS, [[i % 2, None] for i in range(24)])
    with pytest.raises(DataError, match=r"'target_0'.*continuous"):
        model.fit(TEXTS, [[0.5, 1]] * 24)
    with pytest.raises(DataError, match="'mood'"):
        model.fit(pd.DataFrame({"mood": TEXTS}), pd.DataFrame({"mood": MOODS, "flag": FLAGS}))
    with pytest.raises(ConfigError, match="`class_weight`"):
        PredGenClassifier(base, class_weight="balanced", **FAST).fit(TEXTS, [[i % 2, i % 3] for i in range(24)])


# In a process of its own: the checks give parameters of wrong types, which these tests' type checker refuses at once.
CHECKS = """
import sys, warnings
import predgen
from sklearn.utils import estimator_checks as checks

warnings.simplefilter("ignore")
base = sys.argv[1]
given = dict(method="generator", max_steps=1, validation_fraction=0, batch_size=4)
classifier, regressor = predgen.PredGenClassifier(base, **given), predgen.PredGenRegressor(base, **given)
checks.check_classifiers_multilabel_output_format_predict("c", classifier)
checks.check_classifiers_multilabel_output_format_predict_proba("c", classifier)
checks.check_classifiers_multilabel_representation_invariance("c", classifier)
checks.check_regressor_multioutput("r", regressor)
checks.check_supervised_y_2d("r", regressor)
print("all hold")
"""


@pytest.mark.slow
def test_scikit_learns_checks_of_several_outputs_hold(base: str) -> None:
    done = subprocess.run([sys.executable, "-c", CHECKS, base], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["all hold"], done.stderr

"""Baselines do what their names say, and choose on validation rows only."""

from dataclasses import replace
from pathlib import Path

import pytest
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge

from predgen.baselines.base import make_baseline
from predgen.baselines.constant import Constant
from predgen.baselines.linear import STRENGTHS, Tfidf
from predgen.core import Example, Prediction, Target
from predgen.data.examples import custom_task
from predgen.errors import ConfigError, DataError
from predgen.metrics.measure import measure
from predgen.training.rows import TrainingData
from tiny_runs import tiny_config, tiny_rows


def texts(rows: list[Example]) -> list[str]:
    """The rows' texts."""
    return [row.fields["text"] for row in rows]


def targets(rows: list[Example]) -> list[object]:
    """The rows' targets."""
    return [row.target.value for row in rows if row.target]


def constant(rows: list[Example], kind: str) -> tuple[Constant, Prediction]:
    """The constant of rows."""
    baseline = Constant()
    task = custom_task(prompt="{text} =", target="answer", kind=kind)
    baseline.fit(tiny_config(Path("none"), kind), TrainingData(task, rows, []))
    first, second = baseline.predict(rows[:2])
    assert first == second
    return baseline, first


def test_constant_number_is_the_mean() -> None:
    rows = tiny_rows(9, "regression")
    values = [float(str(t)) for t in targets(rows)]
    assert constant(rows, "regression")[1].value == pytest.approx(sum(values) / 9)


def test_constant_label_comes_with_shares() -> None:
    rows = [Example(i, {"text": ""}, Target(label)) for i, label in enumerate("abb")]
    baseline, found = constant(rows, "classification")
    assert found == Prediction("b", (1 / 3, 2 / 3))
    assert baseline.labels == ("a", "b")


def test_constant_math_answer_is_the_most_frequent() -> None:
    rows = [Example(i, {"text": ""}, Target(value)) for i, value in enumerate((1.0, 7.0, 7.0))]
    assert constant(rows, "math")[1] == Prediction(7.0)


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_tfidf_is_the_best_of_its_strengths_on_validation_rows(kind: str) -> None:
    train, validation, test = (tiny_rows(n, kind, seed=n) for n in (40, 21, 11))
    metric = "mse" if kind == "regression" else "accuracy"
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(texts(train))
    scores, predictions = [], []
    for strength in STRENGTHS:
        model = Ridge(1 / strength, tol=1e-8) if kind == "regression" else LogisticRegression(C=strength, max_iter=2000)
        model.fit(vectorizer.transform(texts(train)), targets(train))
        guess = list(model.predict(vectorizer.transform(texts(validation))))
        scores.append(measure([metric], targets(validation), guess)[metric])
        predictions.append(list(model.predict(vectorizer.transform(texts(test)))))
    best = scores.index(min(scores) if kind == "regression" else max(scores))
    found = [p.value for p in Tfidf().fit_rows(train, validation, kind).predict(test)]
    assert found == (pytest.approx(predictions[best]) if kind == "regression" else predictions[best])


def weighted(rows: list[Example]) -> list[Example]:
    """The same rows with weights 1, 2, 3, 1, ..."""
    return [replace(row, weight=float(1 + i % 3)) for i, row in enumerate(rows)]


@pytest.mark.parametrize("kind", ["regression", "classification", "math"])
def test_weights_of_the_constant_are_repetitions(kind: str) -> None:
    rows = weighted(tiny_rows(9, kind))
    repeated = [row for row in rows for _ in range(int(row.weight))]
    found, expected = constant(rows, kind)[1], constant([replace(row, weight=1.0) for row in repeated], kind)[1]
    assert found.value == pytest.approx(expected.value)
    assert found.probabilities == (expected.probabilities and pytest.approx(expected.probabilities))


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_row_weights_are_those_of_scikit_learn_of_mean_one(kind: str) -> None:
    train, validation = weighted(tiny_rows(40, kind)), tiny_rows(21, kind, seed=1)
    found = Tfidf().fit_rows(train, validation, kind)._model
    features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit_transform(texts(train))
    weights = [row.weight for row in train]
    again = clone(found).fit(features, targets(train), sample_weight=[w * len(train) / sum(weights) for w in weights])
    assert found.coef_ == pytest.approx(again.coef_, abs=1e-6)
    # Guard: without weights it is another model.
    assert abs(found.coef_ - clone(found).fit(features, targets(train)).coef_).max() > 1e-3


def test_class_weights_are_those_of_scikit_learn() -> None:
    rows = [row for i, row in enumerate(tiny_rows(60, "classification")) if i % 3 or targets([row]) == ["a"]]
    data = TrainingData(
        custom_task(prompt="{text} =", target="answer", kind="classification"), rows, tiny_rows(21, "classification")
    )
    baseline = Tfidf()
    baseline.fit(tiny_config(Path("none"), "classification", class_weight="balanced"), data)
    features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit_transform(texts(rows))
    own = clone(baseline._model).set_params(class_weight="balanced").fit(features, targets(rows))
    assert baseline._model.coef_ == pytest.approx(own.coef_, abs=1e-4)


def test_tfidf_refuses_math_and_rows_without_words() -> None:
    rows = tiny_rows(6, "regression")
    with pytest.raises(ConfigError, match="not math"):
        make_baseline("tfidf", "math")
    with pytest.raises(DataError, match="there are none"):
        Tfidf().fit_rows(rows, [], "regression")
    blank = [Example(i, {"text": "."}, Target(float(i))) for i in range(3)]
    with pytest.raises(DataError, match="finds no words in the 3"):
        Tfidf().fit_rows(blank, blank, "regression")

"""Plain alternatives that every method has to beat: the best constant, and TF-IDF with a linear model."""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from predgen.core import Example, Kind
from predgen.errors import ConfigError, DataError
from predgen.metrics.base import metric_of

STRENGTHS = tuple(float(c) for c in np.logspace(-2, 2, 9))
"""Inverse regularisation strengths that are tried."""


@dataclass(frozen=True, slots=True)
class BaselinePredictions:
    """What a baseline says about rows.

    Attributes:
        values: Label or number per row.
        probabilities: P(label) per row; None for numbers.
        labels: Columns of `probabilities`.
    """

    values: list[Any]
    probabilities: list[list[float]] | None = None
    labels: tuple[str, ...] = ()


def constant(train: Sequence[Example], rows: Sequence[Example], kind: Kind) -> BaselinePredictions:
    """Predict the training rows' mean (regression), or their most frequent label or answer, for every row.

    Probabilities are the labels' shares among the training rows.

    Example:
        >>> from predgen.core import Target
        >>> rows = [Example(i, {"text": ""}, Target(label)) for i, label in enumerate("aab")]
        >>> constant(rows, rows[:1], "classification").values
        ['a']
    """
    targets = _targets(train)
    if kind == "regression":
        return BaselinePredictions([statistics.fmean(targets)] * len(rows))
    counts = Counter(targets)
    value = counts.most_common(1)[0][0]
    if kind == "math":
        return BaselinePredictions([value] * len(rows))
    labels = tuple(sorted(counts))
    shares = [counts[label] / len(targets) for label in labels]
    return BaselinePredictions([value] * len(rows), [shares] * len(rows), labels)


def tfidf(
    train: Sequence[Example], validation: Sequence[Example], rows: Sequence[Example], kind: Kind, metric: str
) -> BaselinePredictions:
    """Words and word pairs, weighted by TF-IDF, with ridge or logistic regression.

    The regularisation strength is the one that is best on the validation rows, the strongest of several.

    Args:
        train: Rows to fit.
        validation: Rows that choose the strength; not empty.
        rows: Rows to predict.
        kind: Kind of task.
        metric: Metric by which to choose.

    Raises:
        ConfigError: If the task is math, whose answers are no function of words.
        DataError: If there are no validation rows, or no word occurs twice.
    """
    if kind == "math":
        raise ConfigError("the baseline 'tfidf' serves classification and regression, not math.")
    if not validation:
        raise DataError("the baseline 'tfidf' chooses its strength on validation rows, but there are none.")
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    try:
        features = vectorizer.fit_transform(_texts(train))
    except ValueError as error:
        raise DataError(f"the baseline 'tfidf' finds no words in the {len(train)} training rows: {error}.") from error
    held_out, targets = vectorizer.transform(_texts(validation)), _targets(validation)
    chooses = metric_of(metric)
    best: tuple[float, Any] | None = None
    for strength in STRENGTHS:
        model = _linear(kind, strength).fit(features, _targets(train))
        score = chooses.sign * chooses(targets, list(model.predict(held_out)))
        if best is None or score > best[0]:
            best = (score, model)
    assert best is not None
    model, features = best[1], vectorizer.transform(_texts(rows))
    if kind == "regression":
        return BaselinePredictions([float(value) for value in model.predict(features)])
    labels = tuple(map(str, model.classes_))
    probabilities = [[float(p) for p in row] for row in model.predict_proba(features)]
    return BaselinePredictions([str(label) for label in model.predict(features)], probabilities, labels)


def _linear(kind: Kind, strength: float) -> Any:  # noqa: ANN401  (a scikit-learn estimator)
    """A linear model; `strength` is the inverse of the penalty's weight."""
    from sklearn.linear_model import LogisticRegression, Ridge

    return Ridge(1 / strength, tol=1e-8) if kind == "regression" else LogisticRegression(C=strength, max_iter=2000)


def _targets(rows: Sequence[Example]) -> list[Any]:
    """Targets of rows that have one."""
    return [row.target.value for row in rows if row.target is not None]


def _texts(rows: Sequence[Example]) -> list[str]:
    """The prompts' fields, one under the other; options are among them where the prompt shows them."""
    return ["\n".join(row.fields.values()) for row in rows]

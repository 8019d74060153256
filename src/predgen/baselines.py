"""Plain alternatives that every method has to beat: the best constant, TF-IDF or a sentence encoder with a linear model."""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from predgen.core import Example, Kind
from predgen.embeddings import embedding_features
from predgen.errors import ConfigError, DataError
from predgen.metrics.base import metric_of

STRENGTHS = tuple(float(c) for c in np.logspace(-2, 2, 9))
"""Inverse regularisation strengths that are tried for TF-IDF."""
DENSE_STRENGTHS = tuple(float(c) for c in np.logspace(-5, 1, 13))
"""The same for hundreds of features that all have variance 1: they need far more."""
ENCODER = "minilm"
"""The sentence encoder of baseline `embedding`."""


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
    _check("tfidf", validation, kind)
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    try:
        features = vectorizer.fit_transform(_texts(train))
    except ValueError as error:
        raise DataError(f"the baseline 'tfidf' finds no words in the {len(train)} training rows: {error}.") from error
    held_out, wanted = vectorizer.transform(_texts(validation)), vectorizer.transform(_texts(rows))
    return _predicted((features, held_out, wanted), _targets(train), _targets(validation), kind, metric, STRENGTHS)


def embedding(
    train: Sequence[Example],
    validation: Sequence[Example],
    rows: Sequence[Example],
    kind: Kind,
    metric: str,
    encoder: str = ENCODER,
) -> BaselinePredictions:
    """Vectors of a frozen sentence encoder (`embeddings.embedding_features`), with ridge or logistic regression; see `tfidf`.

    Args:
        train: Rows to fit.
        validation: Rows that choose the strength; not empty.
        rows: Rows to predict.
        kind: Kind of task.
        metric: Metric by which to choose.
        encoder: The encoder, as `--model` takes models.

    Raises:
        ConfigError: If the task is math.
        DataError: If there are no validation rows.
        ModelError: If the encoder is missing or damaged.
    """
    _check("embedding", validation, kind)
    both = embedding_features([*train, *validation, *rows], encoder)
    # Each feature in its training rows' standard deviations, so that one penalty fits all.
    mean, std = both[: len(train)].mean(0), both[: len(train)].std(0) + 1e-9
    parts = np.split((both - mean) / std, [len(train), len(train) + len(validation)])
    return _predicted(
        (parts[0], parts[1], parts[2]), _targets(train), _targets(validation), kind, metric, DENSE_STRENGTHS
    )


def _check(name: str, validation: Sequence[Example], kind: Kind) -> None:
    """Refuse what a linear model of a text cannot do."""
    if kind == "math":
        raise ConfigError(f"the baseline {name!r} serves classification and regression, not math.")
    if not validation:
        raise DataError(f"the baseline {name!r} chooses its strength on validation rows, but there are none.")


def _predicted(
    features: tuple[Any, Any, Any],
    targets: list[Any],
    held_out: list[Any],
    kind: Kind,
    metric: str,
    strengths: Sequence[float],
) -> BaselinePredictions:
    """Fit linear models of several strengths, keep the one that is best on the validation rows, and predict.

    Args:
        features: Of the training, validation and wanted rows, [N, D] each.
        targets: Of the training rows.
        held_out: Of the validation rows.
        kind: Kind of task.
        metric: Metric by which to choose.
        strengths: What to choose from.
    """
    chooses = metric_of(metric)
    best: tuple[float, Any] | None = None
    for strength in strengths:
        model = _linear(kind, strength).fit(features[0], targets)
        score = chooses.sign * chooses(held_out, list(model.predict(features[1])))
        if best is None or score > best[0]:
            best = (score, model)
    assert best is not None
    model = best[1]
    if kind == "regression":
        return BaselinePredictions([float(value) for value in model.predict(features[2])])
    labels = tuple(map(str, model.classes_))
    probabilities = [[float(p) for p in row] for row in model.predict_proba(features[2])]
    return BaselinePredictions([str(label) for label in model.predict(features[2])], probabilities, labels)


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

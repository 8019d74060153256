"""Linear models of texts: on weighted words, or on the vectors of a frozen sentence encoder."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np

from predgen.baselines.base import Baseline, labelled, rows_as_weighed, targets_of, texts_of, weights_of
from predgen.baselines.settings import EmbeddingSettings
from predgen.config import RunConfig
from predgen.core import Example, Kind, Prediction
from predgen.embeddings import SentenceEncoder
from predgen.errors import DataError
from predgen.metrics.base import PRIMARY, metric_of
from predgen.training.rows import TrainingData

STRENGTHS = tuple(float(c) for c in np.logspace(-2, 2, 9))
"""Inverse regularisation strengths that are tried for TF-IDF."""
DENSE_STRENGTHS = tuple(float(c) for c in np.logspace(-5, 1, 13))
"""The same for hundreds of features that all have variance 1: they need far more."""


class LinearBaseline(Baseline):
    """Ridge or logistic regression of the strength that is best on the validation rows, the strongest of several.

    A subclass has `features`, and says in `strengths` what to choose from.
    """

    strengths: ClassVar[tuple[float, ...]]

    @abstractmethod
    def fit_features(self, rows: Sequence[Example]) -> Any:  # noqa: ANN401  (a matrix, sparse or dense)
        """Learn from the training rows what features are, and return theirs, N x D."""

    @abstractmethod
    def features(self, rows: Sequence[Example]) -> Any:  # noqa: ANN401  (as above)
        """Return the features of rows, N x D."""

    def fit(self, config: RunConfig, data: TrainingData) -> None:
        self.fit_rows(rows_as_weighed(config, data), data.validation, data.task.kind)

    def fit_rows(self, train: Sequence[Example], validation: Sequence[Example], kind: Kind) -> Self:
        """Fit linear models of several strengths, rows by their weights, and keep the one that is best; see `fit`."""
        if not validation:
            raise DataError("a linear baseline chooses its strength on validation rows, but there are none.")
        features, held_out = self.fit_features(train), self.features(validation)
        chooses, targets, wanted = metric_of(PRIMARY[kind]), targets_of(train), targets_of(validation)
        is_number, weights = kind == "regression", weights_of(train)
        best: tuple[float, Any] | None = None
        for strength in self.strengths:
            model = _linear(strength, is_number).fit(features, targets, sample_weight=weights)
            score = chooses.sign * chooses(wanted, list(model.predict(held_out)))
            if best is None or score > best[0]:
                best = (score, model)
        assert best is not None
        self._model = best[1]
        self.labels = () if is_number else tuple(map(str, self._model.classes_))
        return self

    def predict(self, rows: Sequence[Example]) -> list[Prediction]:
        features = self.features(rows)
        if not self.labels:
            return [Prediction(float(value)) for value in self._model.predict(features)]
        return labelled(self.labels, self._model.predict_proba(features))


def _linear(strength: float, is_number: bool) -> Any:  # noqa: ANN401  (a scikit-learn estimator)
    """A linear model; `strength` is the inverse of the penalty's weight."""
    from sklearn.linear_model import LogisticRegression, Ridge

    return Ridge(1 / strength, tol=1e-8) if is_number else LogisticRegression(C=strength, max_iter=2000)


class Tfidf(LinearBaseline):
    """Words and word pairs of the prompt's fields, weighted by TF-IDF.

    Raises:
        DataError: If there are no validation rows, or the training rows have no words.
    """

    strengths = STRENGTHS

    def fit_features(self, rows: Sequence[Example]) -> Any:  # noqa: ANN401  (a sparse matrix)
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        try:
            return self._vectorizer.fit_transform(texts_of(rows))
        except ValueError as error:
            raise DataError(
                f"the baseline 'tfidf' finds no words in the {len(rows)} training rows: {error}."
            ) from error

    def features(self, rows: Sequence[Example]) -> Any:  # noqa: ANN401  (a sparse matrix)
        return self._vectorizer.transform(texts_of(rows))


class Embedding(LinearBaseline):
    """Vectors of a frozen sentence encoder; pairs by difference, product and cosine (`embeddings.SentenceEncoder`).

    Args:
        settings: Which encoder.

    Raises:
        DataError: If there are no validation rows.
        ModelError: If the encoder is missing or damaged.
    """

    strengths = DENSE_STRENGTHS

    def __init__(self, settings: EmbeddingSettings) -> None:
        super().__init__()
        self.settings = settings

    def fit_features(self, rows: Sequence[Example]) -> Any:  # noqa: ANN401  (a matrix)
        self._encoder = SentenceEncoder(self.settings.embedding_model)
        self.facts = {"parameters": self._encoder.parameters}
        found = self._encoder.features(rows)
        # Each feature in its training rows' standard deviations, so that one penalty fits all.
        self._mean, self._std = found.mean(0), found.std(0) + 1e-9
        return (found - self._mean) / self._std

    def features(self, rows: Sequence[Example]) -> Any:  # noqa: ANN401  (a matrix)
        return (self._encoder.features(rows) - self._mean) / self._std

"""The classifier."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import ClassifierMixin

from predgen.core import Prediction
from predgen.errors import ConfigError
from predgen.estimators.base import PredGenEstimator
from predgen.estimators.facts import FitFacts
from predgen.estimators.several import width_of
from predgen.estimators.targets import CellArray, class_weights, column_name, label_text, read_labels, row_weights
from predgen.inference.targets import TrainedTargets
from predgen.inference.trained import TrainedModel


class PredGenClassifier(ClassifierMixin, PredGenEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Classify texts or table rows by generating their label.

    Args:
        model: Base model: a name of `predgen models ls`, a hub id, a folder, a .gguf file, or "embedded".
        method: "predgen", "generator" or "predictor".
        prompt: Template with the columns of `X` as fields; texts without columns are `{text}`. None: all columns.
        peft: Fine-tuning method (`predgen ls peft`).
        director: PredGen's task adapter (`predgen ls directors`); None: by kind of task.
        loss: How PredGen joins its losses (`predgen ls losses`).
        sampling: Scheduled sampling (`predgen ls sampling`).
        epochs: Passes over the training rows.
        max_steps: Optimizer steps; overrides `epochs`.
        batch_size: Rows per optimizer step.
        learning_rate: Peak learning rate.
        validation_fraction: Share of the rows held out to pick the best checkpoint; 0: the last one is kept.
        patience: Stop after this many evaluations without a better metric.
        class_weight: None, "balanced", or label -> weight, as in scikit-learn.
        random_state: Seed.
        settings: Further fields of `predgen.RunConfig`; unknown names are refused.
        verbose: Show progress.

    Attributes:
        classes_: The labels, as they stood in `y`, in the order of `predict_proba`'s columns.
        trained_: The `TrainedModel`.

    Example:
        >>> from predgen import PredGenClassifier
        >>> texts = ["a splendid evening", "a dreadful bore"] * 8
        >>> model = PredGenClassifier(max_steps=2, validation_fraction=0).fit(texts, [1, 0] * 8)
        >>> model.predict_proba(texts[:3]).shape
        (3, 2)
    """

    _kind = "classification"
    classes_: Any  # an array; of several targets a list of arrays

    def __init__(
        self,
        model: str = "smollm2",
        *,
        method: str = "predgen",
        prompt: str | None = None,
        peft: str = "lora",
        director: str | None = None,
        loss: str | None = None,
        sampling: str = "token",
        epochs: float = 3.0,
        max_steps: int | None = None,
        batch_size: int = 16,
        learning_rate: float = 2e-3,
        validation_fraction: float = 0.1,
        patience: int | None = None,
        class_weight: str | Mapping[Any, float] | None = None,
        random_state: int | np.random.RandomState | None = 0,
        settings: Mapping[str, Any] | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            model,
            method=method,
            prompt=prompt,
            peft=peft,
            director=director,
            loss=loss,
            sampling=sampling,
            epochs=epochs,
            max_steps=max_steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            validation_fraction=validation_fraction,
            patience=patience,
            random_state=random_state,
            settings=settings,
            verbose=verbose,
        )
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: ANN401
        """Fine-tune on rows and labels.

        Args:
            X: Texts, a DataFrame, or mappings.
            y: Labels: str, int or bool; several columns of them for as many targets, such as 0 and 1 for each of several labels,
                in which None and NaN leave a row's target out.
            sample_weight: Weight of each row's loss, >= 0.

        Raises:
            DataError: If a label or cell is missing, there is one class only, or lengths differ.
        """
        given = self._rows_to_fit(X)
        weights = row_weights(sample_weight, len(given.rows))
        if width_of(y) > 1:
            if self.class_weight is not None:
                raise ConfigError(
                    f"`class_weight` is {self.class_weight!r}, but `y` has {width_of(y)} columns, whose labels it does not tell apart. Leave"
                    " it out, or weigh rows by `sample_weight`."
                )
            columns = self._train_several(given, y, weights)
            self.classes_ = [column.labels.classes for column in columns if column.labels is not None]
            return self
        labels = read_labels(y, len(given.rows))
        if self.class_weight is not None:
            balance = class_weights(self.class_weight, labels)
            weights = balance if weights is None else weights * balance
        self._train(given, labels, weights, target=column_name(y))
        self.classes_ = labels.classes
        return self

    def _class_weight(self) -> Literal["balanced"] | dict[str, float] | None:
        if not isinstance(self.class_weight, Mapping):
            return None if self.class_weight is None else "balanced"  # `fit` refuses other words
        return {label_text(label): float(weight) for label, weight in self.class_weight.items()}

    def _adopt(self, trained: TrainedModel | TrainedTargets, facts: FitFacts) -> None:
        super()._adopt(trained, facts)
        if isinstance(trained, TrainedTargets):
            self.classes_ = [np.array(trained[name].classes) for name in trained.names]
        else:
            self.classes_ = np.array(trained.classes)

    @classmethod
    def _parameters(cls, trained: TrainedModel | TrainedTargets, facts: FitFacts) -> dict[str, Any]:
        if isinstance(trained, TrainedTargets):
            return super()._parameters(trained, facts)
        weights: Any = facts.class_weight
        if isinstance(weights, dict):
            texts = {label: label_text(label) for label in trained.classes}
            weights = {label: weights[text] for label, text in texts.items() if text in weights}
        elif weights is None and trained.config.class_weight == "balanced":
            weights = "balanced"
        return {**super()._parameters(trained, facts), "class_weight": weights}

    def predict(self, X: Any) -> CellArray:  # noqa: ANN401
        """Return the label of each row, shape (rows,); of several targets (rows, targets)."""
        if (several := self._several()) is not None:
            told = self._predict_several(X).items()
            kept = zip(told, self.classes_, strict=True)
            columns = [_labels_of(of_one, several[name], own) for (name, of_one), own in kept]
            types = {column.dtype for column in columns}
            # Texts and numbers side by side stay what they are.
            return np.stack([column if len(types) == 1 else column.astype(object) for column in columns], axis=1)
        return _labels_of(self._predict(X), self._one(), self.classes_)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: ANN401
        """Return the share of rows whose label is right; of several targets, of rows of which all labels are."""
        if self._several() is None:
            found: float = super().score(X, y, sample_weight)
            return found
        right = (self.predict(X) == np.asarray(y)).all(axis=1)
        return float(np.average(right, weights=sample_weight))

    def predict_set(
        self,
        X: Any,  # noqa: ANN401
        coverage: float = 0.9,
        *,
        conformal: str | None = None,
        by: str | None = None,
    ) -> list[list[Any]]:
        """Return for each row the labels among which the true one is in a share of `coverage` of rows.

        Args: as of `TrainedModel.predict_set`; `by` is a column of `X`.

        Raises:
            ConfigError: If the model is not calibrated, which takes 100 held-out rows, or on too few rows.
        """
        found = self._one().predict_set(self._rows_to_predict(X), coverage, conformal=conformal, by=by)
        own = dict(zip(self._one().classes, np.asarray(self.classes_).tolist(), strict=True))
        return [[own[label] for label in labels] for labels in found]

    def predict_proba(self, X: Any) -> CellArray | list[CellArray]:  # noqa: ANN401
        """Return P(label), shape (rows, classes), in the order of `classes_`; rows sum to 1.

        Of several targets, a list of such arrays, one for each, as scikit-learn's multioutput classifiers do.
        """
        if self._several() is not None:
            told = self._predict_several(X).values()
            kept = zip(told, self.classes_, strict=True)
            return [
                np.array([p.probabilities for p in of_one], dtype=float).reshape(-1, len(own)) for of_one, own in kept
            ]
        found = [p.probabilities for p in self._predict(X)]
        return np.array(found, dtype=float).reshape(-1, len(self.classes_))

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _labels_of(predictions: Sequence[Prediction], trained: TrainedModel, classes: CellArray) -> CellArray:
    """Labels of predictions as they stood in `y`."""
    number = {text: index for index, text in enumerate(trained.labels)}
    found: CellArray = classes[np.array([number[str(p.value)] for p in predictions], dtype=int)]
    return found

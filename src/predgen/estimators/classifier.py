"""The classifier."""

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import ClassifierMixin

from predgen.estimators.base import PredGenEstimator
from predgen.estimators.facts import FitFacts
from predgen.estimators.targets import CellArray, class_weights, column_name, label_text, read_labels, row_weights
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
            y: Labels: str, int or bool.
            sample_weight: Weight of each row's loss, >= 0.

        Raises:
            DataError: If a label or cell is missing, there is one class only, or lengths differ.
        """
        given = self._rows_to_fit(X)
        labels = read_labels(y, len(given.rows))
        weights = row_weights(sample_weight, len(given.rows))
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

    def _adopt(self, trained: TrainedModel, facts: FitFacts) -> None:
        super()._adopt(trained, facts)
        self.classes_ = np.array(trained.classes)

    @classmethod
    def _parameters(cls, trained: TrainedModel, facts: FitFacts) -> dict[str, Any]:
        weights: Any = facts.class_weight
        if isinstance(weights, dict):
            texts = {label: label_text(label) for label in trained.classes}
            weights = {label: weights[text] for label, text in texts.items() if text in weights}
        elif weights is None and trained.config.class_weight == "balanced":
            weights = "balanced"
        return {**super()._parameters(trained, facts), "class_weight": weights}

    def predict(self, X: Any) -> CellArray:  # noqa: ANN401
        """Return the label of each row."""
        predictions = self._predict(X)
        number = {text: index for index, text in enumerate(self.trained_.labels)}
        found: CellArray = self.classes_[np.array([number[str(p.value)] for p in predictions], dtype=int)]
        return found

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
        found = self.trained_.predict_set(self._rows_to_predict(X), coverage, conformal=conformal, by=by)
        own = dict(zip(self.trained_.classes, self.classes_.tolist(), strict=True))
        return [[own[label] for label in labels] for labels in found]

    def predict_proba(self, X: Any) -> CellArray:  # noqa: ANN401
        """Return P(label), shape (rows, classes), in the order of `classes_`; rows sum to 1."""
        found = [p.probabilities for p in self._predict(X)]
        return np.array(found, dtype=float).reshape(-1, len(self.classes_))

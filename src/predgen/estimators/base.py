"""scikit-learn estimators: `fit`, `predict`, `predict_proba`, `score`, safe to clone and to search over."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from rich.console import Console
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import check_is_fitted

from predgen.config import RunConfig, config_from
from predgen.core import Decoding, Example, Prediction, Target
from predgen.data.cells import label_of
from predgen.data.examples import custom_task, to_examples
from predgen.data.sources import rows_of
from predgen.distribution import Distribution, check_levels
from predgen.errors import ConfigError, DataError
from predgen.inference.trained import TrainedModel
from predgen.models.base import PLAIN
from predgen.training.prepare import TrainingData, hold_out
from predgen.training.run import train

Column = npt.NDArray[Any]
_TEXT = "text"
_TARGET = "target of fit"  # no column can have this name in a prompt


class _Estimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """What classifier and regressor share. Parameters are documented on the public classes."""

    def __init__(
        self,
        model: str = "embedded",
        *,
        method: str = "predgen",
        prompt: str | None = None,
        peft: str = "lora",
        director: str | None = None,
        loss: str = "wdal_shifted",
        sampling: str = "token",
        epochs: float = 3.0,
        max_steps: int | None = None,
        batch_size: int = 16,
        learning_rate: float = 2e-3,
        validation_fraction: float = 0.1,
        patience: int | None = None,
        random_state: int = 0,
        settings: Mapping[str, Any] | None = None,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.method = method
        self.prompt = prompt
        self.peft = peft
        self.director = director
        self.loss = loss
        self.sampling = sampling
        self.epochs = epochs
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state
        self.settings = settings
        self.verbose = verbose

    def _config(self, prompt: str, kind: str) -> RunConfig:
        """The run's settings: this estimator's parameters, and `settings` for the rest."""
        names = (
            "model",
            "method",
            "peft",
            "director",
            "loss",
            "sampling",
            "epochs",
            "max_steps",
            "batch_size",
            "learning_rate",
            "patience",
        )
        own = {name: getattr(self, name) for name in names}
        rest = dict(self.settings or {})
        taken = sorted(rest.keys() & {*own, "seed", "prompt", "data", "task", "target", "kind"})
        if taken:
            raise ConfigError(
                f"`settings` has {', '.join(taken)}; give {'it' if len(taken) == 1 else 'them'} as parameters of the estimator."
            )
        source = {"data": "(in memory)", "prompt": prompt, "target": _TARGET, "kind": kind, "seed": self.random_state}
        return config_from(own, rest, source)

    def _fit(self, X: Any, targets: Sequence[str | float], weights: Column | None, kind: str) -> None:  # noqa: ANN401
        """Train on rows and their targets."""
        rows = _rows(X)
        if len(rows) != len(targets):
            raise DataError(f"`X` has {len(rows)} rows, but `y` has {len(targets)}.")
        prompt = self.prompt or _default_prompt(rows, kind)
        config = self._config(prompt, kind)
        task = custom_task(prompt=prompt, target=_TARGET, kind=kind)
        bare = to_examples(rows, task, with_target=False)
        examples = [
            Example(e.row_id, e.fields, Target(t), 1.0 if weights is None else float(weights[e.row_id]))
            for e, t in zip(bare, targets, strict=True)
            if weights is None or weights[e.row_id] != 0
        ]
        if any(not e.weight > 0 or not np.isfinite(e.weight) for e in examples):
            raise DataError("`sample_weight` has negative or non-finite weights; they must be 0 or more.")
        parts = {"train": examples, "validation": []}
        if self.validation_fraction:
            parts = hold_out(examples, self.random_state, self.validation_fraction)
        data = TrainingData(task, parts["train"], parts["validation"])
        self.trained_: TrainedModel = train(config, data=data, console=Console() if self.verbose else None)
        self.feature_names_in_ = np.array(list(rows[0]), dtype=object)

    def _predict(self, X: Any, decoding: Decoding = PLAIN) -> list[Prediction]:  # noqa: ANN401
        """Predictions of rows."""
        check_is_fitted(self, "trained_")
        return self.trained_.predict(_rows(X), decoding=decoding)

    def save(self, folder: str | Path) -> Path:
        """Write the fitted model into a folder that `predgen.load` and `predgen predict` read."""
        check_is_fitted(self, "trained_")
        return self.trained_.save(folder)

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags


class PredGenClassifier(ClassifierMixin, _Estimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Classify texts or table rows by generating their label.

    Args:
        model: Base model: "embedded", a hub id or a local folder.
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

    def __init__(
        self,
        model: str = "embedded",
        *,
        method: str = "predgen",
        prompt: str | None = None,
        peft: str = "lora",
        director: str | None = None,
        loss: str = "wdal_shifted",
        sampling: str = "token",
        epochs: float = 3.0,
        max_steps: int | None = None,
        batch_size: int = 16,
        learning_rate: float = 2e-3,
        validation_fraction: float = 0.1,
        patience: int | None = None,
        class_weight: str | Mapping[Any, float] | None = None,
        random_state: int = 0,
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
        y = np.asarray(y)
        texts = [label_of(value, {}) for value in y.tolist()]
        self.classes_ = np.unique(y)
        names = [label_of(value, {}) for value in self.classes_.tolist()]
        self._label_of_text = dict(zip(names, range(len(names)), strict=True))
        weights = None if sample_weight is None else np.asarray(sample_weight, dtype=float)
        if self.class_weight is not None:
            balance = compute_sample_weight(self.class_weight, y)
            weights = balance if weights is None else weights * balance
        self._fit(X, texts, weights, "classification")
        return self

    def predict(self, X: Any) -> Column:  # noqa: ANN401
        """Return the label of each row."""
        predictions = self._predict(X)
        return self.classes_[[self._label_of_text[str(p.value)] for p in predictions]]

    def predict_proba(self, X: Any) -> Column:  # noqa: ANN401
        """Return P(label), shape (rows, classes), in the order of `classes_`; rows sum to 1."""
        predictions = self._predict(X)
        order = [self.trained_.labels.index(name) for name in self._label_of_text]
        return np.array([p.probabilities for p in predictions], dtype=float).reshape(-1, len(order))[:, order]


class PredGenRegressor(RegressorMixin, _Estimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Predict a number from texts or table rows by generating it.

    Args: as `PredGenClassifier`, without `class_weight`. `settings={"decimals": 1}` fixes the number format.

    Attributes:
        trained_: The `TrainedModel`.

    Example:
        >>> from predgen import PredGenRegressor
        >>> texts = ["a splendid evening", "a dreadful bore"] * 8
        >>> model = PredGenRegressor(max_steps=2, validation_fraction=0).fit(texts, [9.5, 1.5] * 8)
        >>> model.predict(texts[:3]).shape
        (3,)
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: ANN401
        """Fine-tune on rows and numbers.

        Args:
            X: Texts, a DataFrame, or mappings.
            y: Finite numbers.
            sample_weight: Weight of each row's loss, >= 0.

        Raises:
            DataError: If a number or cell is missing, all numbers are equal, or lengths differ.
        """
        try:
            targets = np.asarray(y, dtype=float)
        except (TypeError, ValueError) as error:
            raise DataError(f"`y` must hold numbers: {error}.") from error
        if not np.isfinite(targets).all():
            row = int(np.argmin(np.isfinite(targets)))
            raise DataError(
                f"`y` has {int((~np.isfinite(targets)).sum())} values that are not finite, the first in row {row + 1}."
            )
        weights = None if sample_weight is None else np.asarray(sample_weight, dtype=float)
        self._fit(X, targets.tolist(), weights, "regression")
        return self

    def predict(self, X: Any, decode: str | None = None) -> Column:  # noqa: ANN401
        """Return the number of each row.

        Args:
            X: Rows.
            decode: None: what the method predicts. "greedy", "argmax", "mean" or "median" of the written numbers;
                "best": the mean, which squared error rewards, or the median where `settings["metric"]` is "mae".
        """
        return np.array([p.value for p in self._predict(X, Decoding(decode))], dtype=float)

    def predict_distribution(self, X: Any, max_unexpanded: float = 1e-3) -> list[Distribution]:  # noqa: ANN401
        """Return, for each row, the numbers the model can write with their probabilities.

        Args:
            X: Rows.
            max_unexpanded: Most probability mass to leave unexpanded where the grid is too large to be run whole.

        Raises:
            ConfigError: For a Predictor, which writes nothing.
        """
        found = self._predict(X, Decoding(distribution=True, max_unexpanded=max_unexpanded))
        return [p.distribution for p in found if p.distribution is not None]

    def predict_quantiles(self, X: Any, levels: Sequence[float] = (0.05, 0.5, 0.95)) -> Column:  # noqa: ANN401
        """Return quantiles of the written numbers, shape (rows, levels).

        Args:
            X: Rows.
            levels: Shares, 0..1.

        Raises:
            ConfigError: For a Predictor, or a level outside 0..1.
        """
        check_levels(levels)
        found = self.predict_distribution(X)
        return np.array([[d.quantile(level) for level in levels] for d in found]).reshape(-1, len(levels))


def _rows(X: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    """Rows of what scikit-learn passes: texts become `{text}`, tables keep their columns."""
    if hasattr(X, "columns"):
        return list(rows_of(X))
    if isinstance(X, str):
        raise DataError("`X` is one text; give a list of texts.")
    values = X.tolist() if hasattr(X, "tolist") else list(X)
    if values and isinstance(values[0], list) and len(values[0]) == 1:
        values = [value[0] for value in values]  # a column vector of texts
    if all(isinstance(value, str) for value in values):
        return [{_TEXT: value} for value in values]
    return list(rows_of(values))


def _default_prompt(rows: Sequence[Mapping[str, Any]], kind: str) -> str:
    """A prompt that shows every column."""
    names = list(rows[0]) if rows else [_TEXT]
    body = f"{{{names[0]}}}" if len(names) == 1 else "\n".join(f"{name}: {{{name}}}" for name in names)
    return f"{body}\n{'Label' if kind == 'classification' else 'Score'}:"

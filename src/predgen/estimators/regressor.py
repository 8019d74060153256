"""The regressor."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin

from predgen.core import MAX_NODES, Decoding
from predgen.distribution import Distribution, check_levels
from predgen.estimators.base import PredGenEstimator
from predgen.estimators.several import width_of
from predgen.estimators.targets import CellArray, column_name, read_numbers, row_weights


class PredGenRegressor(RegressorMixin, PredGenEstimator):  # type: ignore[misc]  # scikit-learn ships no types
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

    _kind = "regression"

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: ANN401
        """Fine-tune on rows and numbers.

        Args:
            X: Texts, a DataFrame, or mappings.
            y: Finite numbers; several columns of them for as many targets, in which None and NaN leave a row's target out.
            sample_weight: Weight of each row's loss, >= 0.

        Raises:
            DataError: If a number or cell is missing, all numbers are equal, or lengths differ.
        """
        given = self._rows_to_fit(X)
        if width_of(y) > 1:
            self._train_several(given, y, row_weights(sample_weight, len(given.rows)))
            return self
        targets = read_numbers(y, len(given.rows))
        weights = row_weights(sample_weight, len(given.rows))
        self._train(given, targets, weights, target=column_name(y))
        return self

    def predict(self, X: Any, decode: str | None = None) -> CellArray:  # noqa: ANN401
        """Return the number of each row, shape (rows,); of several targets (rows, targets), as the method predicts them.

        Args:
            X: Rows.
            decode: None: what the method predicts. "greedy", "argmax", "mean" or "median" of the written numbers;
                "best": the mean, which squared error rewards, or the median where `settings["metric"]` is "mae".
        """
        if self._several() is not None and decode is None:
            told = self._predict_several(X).values()
            return np.array([[p.value for p in of_one] for of_one in told], dtype=float).T
        return np.array([p.value for p in self._predict(X, Decoding(decode))], dtype=float)

    def predict_distribution(
        self,
        X: Any,  # noqa: ANN401
        max_unexpanded: float = 1e-3,
        max_nodes: int = MAX_NODES,
    ) -> list[Distribution]:
        """Return, for each row, the numbers the model can write with their probabilities.

        Args:
            X: Rows.
            max_unexpanded: Most probability mass to leave unexpanded where the grid is too large to be run whole.
            max_nodes: Most trie nodes to expand per row of such a grid; where they are spent first, `Distribution.is_cut`.

        Raises:
            ConfigError: For a Predictor, which writes nothing.
        """
        found = self._predict(X, Decoding(distribution=True, max_unexpanded=max_unexpanded, max_nodes=max_nodes))
        return [p.distribution for p in found if p.distribution is not None]

    def predict_interval(
        self,
        X: Any,  # noqa: ANN401
        coverage: float = 0.9,
        *,
        conformal: str | None = None,
        by: str | None = None,
    ) -> CellArray:
        """Return lower and upper ends between which the true number is in a share of `coverage` of rows, shape (rows, 2).

        Args: as of `TrainedModel.predict_interval`; `by` is a column of `X`.

        Raises:
            ConfigError: If the model is not calibrated, which takes 100 held-out rows, or on too few rows.
        """
        rows = self._rows_to_predict(X)
        found = self._one().predict_interval(rows, coverage, conformal=conformal, by=by)
        return np.array(found, dtype=float).reshape(-1, 2)

    def predict_quantiles(self, X: Any, levels: Sequence[float] = (0.05, 0.5, 0.95)) -> CellArray:  # noqa: ANN401
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

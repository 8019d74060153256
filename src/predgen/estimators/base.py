"""What classifier and regressor share: parameters, rows, training, prediction, saving."""

import itertools
import numbers
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from predgen.config import RunConfig, config_from
from predgen.core import Decoding, Example, Kind, Prediction, Target, TaskSpec
from predgen.data.cells import plain, some_labels
from predgen.data.examples import custom_task, iter_examples, to_examples
from predgen.data.given import Given, given_rows
from predgen.data.prompts import prompt_fields
from predgen.errors import ConfigError, DataError
from predgen.inference.trained import TrainedModel
from predgen.models.base import PLAIN
from predgen.terminal import PlainConsole
from predgen.training.prepare import TrainingData, hold_out
from predgen.training.run import train

_ANSWER: dict[Kind, str] = {"classification": "Label", "regression": "Score"}
"""What default prompts ask for; in lower case, what targets without a name are called."""

Column = npt.NDArray[Any]
_OWN = (
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
"""Parameters that are settings of the same name."""
_OF_FILES = frozenset(
    (
        "task",
        "data",
        "data_dir",
        "validation_data",
        "target",
        "kind",
        "weight_column",
        "bad_rows",
        "limit",
        "form",
        "normalise_labels",
    )
)
"""Settings that say where rows come from and what they are: what `fit` gets as `X` and `y`."""


class Estimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
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
        random_state: int | np.random.RandomState | None = 0,
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

    def _config(self, prompt: str, target: str, kind: str) -> RunConfig:
        """The run's settings: this estimator's parameters, and `settings` for the rest."""
        own = {name: getattr(self, name) for name in _OWN}
        rest = dict(self.settings or {})
        taken = sorted(rest.keys() & (self.get_params(deep=False).keys() | {"seed"}))
        if taken:
            raise ConfigError(
                f"`settings` has {', '.join(taken)}; give {'it' if len(taken) == 1 else 'them'} as parameters of the estimator."
            )
        of_files = sorted(rest.keys() & _OF_FILES)
        if of_files:
            raise ConfigError(
                f"`settings` has {', '.join(of_files)}, but what to learn from is what `fit` gets as `X`, `y` and"
                " `sample_weight`. Leave it out, and choose the rows there."
            )
        return config_from(own, rest, {"prompt": prompt, "target": target, "kind": kind, "seed": self._seed()})

    def _seed(self) -> int:
        """The seed of a run: as given, or drawn where a generator or None is given, by scikit-learn's rules."""
        if isinstance(self.random_state, numbers.Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _rows_to_fit(self, X: Any) -> Given:  # noqa: ANN401
        """Rows of `X`; what its columns are is remembered."""
        given = given_rows(X, prompt_fields(self.prompt) if self.prompt else ())
        if len(given.rows) < 2:
            raise DataError(f"`X` has {len(given.rows)} rows (1 sample or none); training needs at least two.")
        self.n_features_in_ = len(given.columns)
        if given.kind == "table":
            self.feature_names_in_ = np.array(given.columns, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        return given

    def _rows_to_predict(self, X: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        """Rows of `X`, which may be none; nameless columns are those of `fit`, by position."""
        check_is_fitted(self, "trained_")
        given = given_rows(X, prompt_fields(self.trained_.task.prompt))
        if given.kind != "cells" or not given.rows:
            return given.rows
        if len(given.columns) != self.n_features_in_:
            raise DataError(
                f"X has {len(given.columns)} features, but {type(self).__name__} is expecting {self.n_features_in_} features"
                " as input."
            )
        names = getattr(self, "feature_names_in_", None)
        if names is None:
            return given.rows
        warnings.warn(
            f"X does not have valid feature names, but {type(self).__name__} was fitted with feature names",
            stacklevel=3,
        )
        return [dict(zip(names, row.values(), strict=True)) for row in given.rows]

    def _train(
        self,
        given: Given,
        targets: Sequence[str | float],
        weights: Column | None,
        *,
        kind: Kind,
        target: str | None,
        labels: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Train on rows and their targets; rows of weight 0 are left out.

        Args:
            given: Rows.
            targets: Label texts or numbers.
            weights: Weight per row; None: 1 each.
            kind: "classification" or "regression".
            target: Name of `y`, where it has one.
            labels: Text -> label as it stands in `y`, of all classes, those included of which every row has weight 0.
        """
        prompt = self.prompt or _default_prompt(given, kind)
        name = _target_name(target, given.columns, prompt, kind)
        config = self._config(prompt, name, kind)
        task = _with_classes(custom_task(prompt=prompt, target=name, kind=kind), labels, config.label_texts)
        bare = to_examples(given.rows, task, with_target=False)
        examples = [
            Example(
                e.row_id,
                e.fields,
                Target(task.labels.get(t, t) if labels else t),
                1.0 if weights is None else float(weights[e.row_id]),
            )
            for e, t in zip(bare, targets, strict=True)
            if weights is None or weights[e.row_id] > 0
        ]
        if kind == "classification" and len(left := {e.target.value for e in examples if e.target}) == 1:
            raise DataError(
                f"`y` has 1 class in the rows with weight ({left.pop()!r}); a classifier needs two classes or more."
            )
        if not 0 <= self.validation_fraction < 1:
            raise ConfigError(
                f"`validation_fraction` is {self.validation_fraction}, but must be a share, 0 or more and below 1."
            )
        parts = {"train": examples, "validation": []}
        if self.validation_fraction:
            by_class = config.stratify and kind == "classification"
            parts = hold_out(examples, config.rows_seed, self.validation_fraction, by_class=by_class)
        data = TrainingData(task, parts["train"], parts["validation"])
        self.trained_: TrainedModel = train(config, data=data, console=PlainConsole() if self.verbose else None)

    def _predict(self, X: Any, decoding: Decoding = PLAIN) -> list[Prediction]:  # noqa: ANN401
        """Predictions of rows; none where there are none."""
        rows = self._rows_to_predict(X)
        return self.trained_.predict_examples(list(iter_examples(rows, self.trained_.task)), decoding=decoding)

    def save(self, folder: str | Path) -> Path:
        """Write the fitted model into a folder that `predgen.load` and `predgen predict` read."""
        check_is_fitted(self, "trained_")
        return self.trained_.save(folder)

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        tags.input_tags.dict = True
        tags.target_tags.required = True
        return tags


def _with_classes(task: TaskSpec, labels: Mapping[str, Any], texts: Mapping[str, str] | None) -> TaskSpec:
    """Declare the classes of `y`: what is written for each (`label_texts`), and the label that comes back for it."""
    if texts and (missing := [label for label in labels if label not in texts]):
        raise ConfigError(
            f"`label_texts` has no text for {some_labels(missing)} of `y`, only for {some_labels(tuple(texts))}. Give each label"
            " of `y` a text."
        )
    written = {label: (texts or {}).get(label, label) for label in labels}
    values = {written[label]: plain(value) for label, value in labels.items()}
    plain_values = {
        text: value for text, value in values.items() if isinstance(value, str | int | float) and value != text
    }
    return replace(task, labels=written, values=plain_values)


def _target_name(given: str | None, columns: Sequence[str], prompt: str, kind: Kind) -> str:
    """What the targets are called in the saved model: as `y` is named, or else by a name that no column has."""
    if given is None:
        names = itertools.chain((_ANSWER[kind].lower(),), (f"target_{n}" for n in itertools.count(1)))
        return next(name for name in names if name not in columns)
    if given in prompt_fields(prompt):
        raise DataError(
            f"`X` has the column {given!r}, which is the name of `y`, too: the model would read what it is to predict. Drop"
            " it from `X`, name the columns to read in `prompt`, or rename `y`."
        )
    return given


def _default_prompt(given: Given, kind: Kind) -> str:
    """A prompt that shows every column."""
    for name in given.columns:
        if not name.strip() or name.isdigit() or set(name) & set("{}[].!:"):
            raise DataError(
                f"`X` has the column {name!r}, which no prompt can name: names in prompts are texts, not numbers, without any"
                " of . : ! [ ] { }. Rename the column."
            )
    names = given.columns
    body = f"{{{names[0]}}}" if len(names) == 1 else "\n".join(f"{name}: {{{name}}}" for name in names)
    return f"{body}\n{_ANSWER[kind]}:"

"""What classifier and regressor share: parameters, rows, training, prediction, saving."""

import inspect
import itertools
import numbers
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from predgen.config import RunConfig, all_settings, config_from, without_useless
from predgen.core import Decoding, Example, Kind, Prediction, Target
from predgen.data.examples import custom_task, iter_examples, to_examples
from predgen.data.given import Given, given_rows
from predgen.data.prompts import prompt_fields
from predgen.data.splits import hold_out
from predgen.errors import ConfigError, DataError
from predgen.estimators.facts import FitFacts, read_facts
from predgen.estimators.several import TargetColumn, read_columns, rows_to_learn, weight_name
from predgen.estimators.targets import CellArray, Labels
from predgen.inference.targets import TrainedTargets, load_targets
from predgen.inference.trained import TrainedModel, load
from predgen.models.base import PLAIN
from predgen.near_names import near_matches
from predgen.saved.manifest import has_targets
from predgen.settings import declared
from predgen.terminal import PlainConsole
from predgen.training.rows import TrainingData
from predgen.training.run import train, train_targets

_ANSWER: dict[Kind, str] = {"classification": "Label", "regression": "Score"}
"""What default prompts ask for; in lower case, what targets without a name are called."""

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
_NESTED = "settings__"
_OF_FILES = frozenset(
    "task data data_dir validation_data target kind weight_column normalise_labels bad_rows limit".split()
)
"""Settings that say where rows come from and what they are: what `fit` gets as `X` and `y`."""


class PredGenEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """What classifier and regressor share. Parameters are documented on the public classes."""

    _kind: ClassVar[Kind]

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

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters; with `deep`, also each of `settings` as `settings__NAME`."""
        found: dict[str, Any] = super().get_params(deep)
        if deep and isinstance(self.settings, Mapping):
            found |= {f"{_NESTED}{name}": value for name, value in self.settings.items()}
        return found

    def set_params(self, **params: Any) -> Self:  # noqa: ANN401
        """Set parameters, and single settings as `settings__NAME`, also those not given before.

        Raises:
            ConfigError: If no setting has that name.
        """
        nested = {name.removeprefix(_NESTED): value for name, value in params.items() if name.startswith(_NESTED)}
        super().set_params(**{name: value for name, value in params.items() if not name.startswith(_NESTED)})
        known = all_settings()
        for name in nested:
            if name not in known:
                raise ConfigError(f"`{_NESTED}{name}` names no setting.{near_matches(name, known)} See `RunConfig`.")
        if nested:
            self.settings = {**(self.settings or {}), **nested}  # a new mapping: clones may hold the old one
        return self

    def _config(self, prompt: str, **learned: Any) -> RunConfig:  # noqa: ANN401
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
        given = {**own, **rest, "prompt": prompt, **learned, "seed": self._seed()}
        return config_from(without_useless(given, own))  # every estimator has `loss`, but not every method

    def _seed(self) -> int:
        """The seed of a run: as given, or drawn where a generator or None is given, by scikit-learn's rules."""
        if isinstance(self.random_state, numbers.Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _rows_to_fit(self, X: Any) -> Given:  # noqa: ANN401
        """Rows of `X`, enough to train on."""
        given = given_rows(X, prompt_fields(self.prompt) if self.prompt else ())
        if len(given.rows) < 2:
            raise DataError(f"`X` has {len(given.rows)} rows (1 sample or none); training needs at least two.")
        return given

    def _adopt(self, trained: TrainedModel | TrainedTargets, facts: FitFacts) -> None:
        """Become the estimator of a trained model."""
        self.trained_ = trained
        if isinstance(trained, TrainedTargets):
            self.n_outputs_ = len(trained.specs)
        elif hasattr(self, "n_outputs_"):
            del self.n_outputs_
        self.n_features_in_ = len(facts.columns)
        if facts.has_names:
            self.feature_names_in_ = np.array(facts.columns, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _rows_to_predict(self, X: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        """Rows of `X`, which may be none; nameless columns are those of `fit`, by position."""
        check_is_fitted(self, "trained_")
        several = self._several()
        given = given_rows(X, prompt_fields(several.config.prompt or "" if several else self._one().task.prompt))
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
        self, given: Given, targets: Labels | list[float], weights: CellArray | None, *, target: str | None
    ) -> None:
        """Train on rows and their targets; rows of weight 0 are left out, classes without any other row stay.

        Args:
            given: Rows.
            targets: Labels or numbers.
            weights: Weight per row; None: 1 each.
            target: Name of `y`, where it has one.
        """
        kind = self._kind
        prompt = self.prompt or _default_prompt(given, kind)
        name = _target_name(target, given.columns, prompt, kind)
        config = self._config(prompt, target=name, kind=kind)
        task = custom_task(prompt=prompt, target=name, kind=kind)
        values: Sequence[str | float] = targets if isinstance(targets, list) else []
        if isinstance(targets, Labels):
            texts = targets.written(config.label_texts or {})
            task = replace(task, labels=dict(zip(targets.texts, texts, strict=True)), values=targets.values(texts))
            values = [texts[number] for number in targets.rows]
        bare = to_examples(given.rows, task, with_target=False)
        examples = [
            Example(e.row_id, e.fields, Target(t), 1.0 if weights is None else float(weights[e.row_id]))
            for e, t in zip(bare, values, strict=True)
            if weights is None or weights[e.row_id] > 0
        ]
        if kind == "classification" and len(left := {e.target.value for e in examples if e.target}) == 1:
            raise DataError(
                f"`y` has 1 class in the rows with weight ({left.pop()!r}); a classifier needs two classes or more."
            )
        parts = {"train": examples, "validation": []}
        if fraction := self._fraction():
            by_class = config.stratify and kind == "classification"
            parts = hold_out(examples, config.rows_seed, fraction, by_class=by_class)
        data = TrainingData(task, parts["train"], parts["validation"])
        trained = train(config, data=data, console=PlainConsole() if self.verbose else None)
        facts = FitFacts(given.columns, given.kind == "table", self.validation_fraction, self._class_weight())
        trained.report["fit"] = asdict(facts)
        self._adopt(trained, facts)

    def _train_several(self, given: Given, y: Any, weights: CellArray | None) -> list[TargetColumn]:  # noqa: ANN401
        """Train on rows and several columns of targets; returns these."""
        columns = read_columns(y, given, is_numbers=self._kind == "regression")
        prompt = self.prompt or default_body(given)
        weight = weight_name([*given.columns, *(column.name for column in columns)])
        config = self._config(prompt, targets=[column.target() for column in columns], weight_column=weight)
        data = rows_to_learn(config, given, columns, weights, self._fraction())
        trained = train_targets(config, data=data, console=PlainConsole() if self.verbose else None)
        facts = FitFacts(given.columns, given.kind == "table", self.validation_fraction)
        trained.report["fit"] = asdict(facts)
        self._adopt(trained, facts)
        return columns

    def _fraction(self) -> float:
        """Share of the rows that is held out."""
        if not 0 <= self.validation_fraction < 1:
            raise ConfigError(
                f"`validation_fraction` is {self.validation_fraction}, but must be a share, 0 or more and below 1."
            )
        return self.validation_fraction

    def _several(self) -> TrainedTargets | None:
        """The fitted model where it has several targets."""
        check_is_fitted(self, "trained_")
        return self.trained_ if isinstance(self.trained_, TrainedTargets) else None

    def _one(self) -> TrainedModel:
        """The fitted model of one target.

        Raises:
            ConfigError: If it has several.
        """
        check_is_fitted(self, "trained_")
        if isinstance(self.trained_, TrainedTargets):
            raise ConfigError(
                f"the estimator was fitted on {len(self.trained_.specs)} columns of `y`, of which this can be had one by one: take"
                f" `trained_[NAME]`, NAME one of {', '.join(map(repr, self.trained_.parts))}."
            )
        return self.trained_

    def _predict_several(self, X: Any) -> dict[str, list[Prediction]]:  # noqa: ANN401
        """Predictions of all targets by their names; values are texts of labels."""
        several = self._several()
        assert several is not None, "asked where there are several"
        rows = self._rows_to_predict(X)
        return several.predict_examples(several.examples(rows)) if rows else {name: [] for name in several.names}

    def _predict(self, X: Any, decoding: Decoding = PLAIN) -> list[Prediction]:  # noqa: ANN401
        """Predictions of rows; none where there are none."""
        rows = self._rows_to_predict(X)
        trained = self._one()
        return trained.predict_examples(list(iter_examples(rows, trained.task)), decoding=decoding)

    def save(self, folder: str | Path) -> Path:
        """Write the fitted model into a folder that `load`, `predgen.load` and `predgen predict` read."""
        check_is_fitted(self, "trained_")
        return self.trained_.save(folder)

    @classmethod
    def load(cls, folder: str | Path, *, base: str | None = None, trust_remote_code: bool = False) -> Self:
        """Read a saved model back as a fitted estimator: one that was fitted, or one of `predgen train`.

        Its parameters are those of the run, a default prompt written out, the seed as it was drawn.

        Args:
            folder: What `save` or `predgen train --out` wrote.
            base: Where the base model lies now, if no longer where it was.
            trust_remote_code: See `predgen.load`.

        Raises:
            ConfigError: If the model is of another kind than this estimator.
            SavedModelError: If the folder is no complete saved model, or is damaged.
        """
        read = load_targets if has_targets(Path(folder)) else load
        trained = read(folder, base=base, trust_remote_code=trust_remote_code)
        parts = trained.parts.values() if isinstance(trained, TrainedTargets) else [trained]
        kinds = sorted({part.task.kind for part in parts})
        if kinds != [cls._kind]:
            raise ConfigError(
                f"{str(folder)!r} holds a {' and '.join(kinds)} model, but {cls.__name__} is for {cls._kind}. Use the other"
                " estimator, `predgen.load` or `predgen.load_targets`."
            )
        facts = read_facts(trained, folder)
        fitted = cls(**cls._parameters(trained, facts))
        fitted._adopt(trained, facts)
        return fitted

    @classmethod
    def _parameters(cls, trained: TrainedModel | TrainedTargets, facts: FitFacts) -> dict[str, Any]:
        """Parameters with which `fit` would train such a model; settings that are at their default are left out."""
        config = trained.config
        at_start = inspect.signature(cls.__init__).parameters  # for those that the method has not
        own = {name: getattr(config, name, at_start[name].default) for name in _OWN}
        shown = {*own, *_OF_FILES, "prompt", "seed", "class_weight"}
        if isinstance(trained, TrainedTargets):
            prompt, learned = config.prompt, {"targets": config.targets}
        else:
            prompt, learned = trained.task.prompt, {"target": trained.task.target, "kind": trained.task.kind}
        at_default = RunConfig(prompt=prompt, **learned)
        rest = {
            name: getattr(config, name)
            for name in declared(RunConfig)
            if name not in shown and getattr(config, name) != getattr(at_default, name)
        }
        rest |= {name: value for name, value in config.own.items() if name not in shown}
        return {
            **own,
            "prompt": prompt,
            "validation_fraction": facts.validation_fraction,
            "random_state": config.seed,
            "settings": rest or None,
        }

    def _class_weight(self) -> Literal["balanced"] | dict[str, float] | None:
        """Class weights by the texts of labels; None where there are none."""
        return None

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.dict = True
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags


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
    """A prompt that shows every column, and asks for the answer."""
    return f"{default_body(given)}\n{_ANSWER[kind]}:"


def default_body(given: Given) -> str:
    """Return a prompt that shows every column."""
    for name in given.columns:
        if not name.strip() or name.isdigit() or set(name) & set("{}[].!:"):
            raise DataError(
                f"`X` has the column {name!r}, which no prompt can name: names in prompts are texts, not numbers, without any"
                " of . : ! [ ] { }. Rename the column."
            )
    names = given.columns
    return f"{{{names[0]}}}" if len(names) == 1 else "\n".join(f"{name}: {{{name}}}" for name in names)

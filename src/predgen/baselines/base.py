"""What a baseline is: fitted on the rows that methods train on, it says something about others."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from predgen import registries
from predgen.components import NO_SETTINGS, resolve
from predgen.config import RunConfig
from predgen.core import Example, Kind, Prediction
from predgen.errors import ConfigError
from predgen.training.pace import Pace
from predgen.training.prepare import balanced
from predgen.training.rows import TrainingData


class Baseline(ABC):
    """Something plain, or of equal cost, that `compare` sets beside the methods.

    Attributes:
        fits: Whether rows teach it something: then its time is told, and validation rows are measured, too.
        labels: What the columns of probabilities are; empty for numbers. Known once it is fitted.
        facts: What a record says of its training: "parameters", "trainable_parameters", "optimizer_steps", as far as there are any.
    """

    fits: ClassVar[bool] = True

    def __init__(self) -> None:
        self.labels: tuple[str, ...] = ()
        self.facts: dict[str, Any] = {}

    @abstractmethod
    def fit(self, config: RunConfig, data: TrainingData) -> None:
        """Learn from the training rows; validation rows choose.

        Args:
            config: The run's settings, which all methods share: passes, batches, the seed.
            data: Its rows.

        Raises:
            PredgenError: If rows or settings cannot be used.
        """

    @abstractmethod
    def predict(self, rows: Sequence[Example]) -> list[Prediction]:
        """Say what the rows' labels or numbers are, in their order; a label comes with the probabilities of all."""

    def pace(self, config: RunConfig, data: TrainingData) -> Pace | None:
        """How fast it is, measured on a few rows; None: it is not timed."""
        return None

    def counts(self, rows: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, int]:
        """Count what has to be known about measured rows, see `evaluation.counts`."""
        return {}


def make_baseline(name: str, kind: Kind, given: Mapping[str, Any] = NO_SETTINGS) -> Baseline:
    """Return a baseline that is not fitted yet.

    Args:
        name: Its name in `registries.baselines`.
        kind: Kind of the task.
        given: Its own settings; others are passed over.

    Raises:
        ConfigError: If it does not serve such tasks, a package that it needs is not installed, or a setting is wrong.
    """
    served = registries.baselines.facts(name).get("kinds", (kind,))
    if kind not in served:
        raise ConfigError(f"the baseline {name!r} serves {' and '.join(served)}, not {kind}.")
    require_packages([name])
    made: Baseline = resolve([(registries.baselines, name)], given, kind)[registries.baselines.kind].make()
    return made


def require_packages(names: Iterable[str]) -> None:
    """Raise where a package that a baseline needs is not installed.

    Raises:
        ConfigError: Naming the extra that brings it.
    """
    for name in names:
        facts = registries.baselines.facts(name)
        package, extra = facts.get("package"), facts.get("extra")
        if package is not None and find_spec(package) is None:
            raise ConfigError(
                f"`baselines` has {name!r}, which needs the package {package!r}, and it is not installed:"
                f" pip install 'predgen[{extra}]'; or leave it out."
            )


def targets_of(rows: Iterable[Example]) -> list[Any]:
    """Targets of rows that have one."""
    return [row.target.value for row in rows if row.target is not None]


def rows_as_weighed(config: RunConfig, data: TrainingData) -> list[Example]:
    """The training rows, with the class weights that methods give them, too."""
    weighs_classes = config.class_weight != "none" and data.task.kind == "classification"
    return balanced(data.train) if weighs_classes else list(data.train)


def weights_of(rows: Sequence[Example]) -> npt.NDArray[np.float64] | None:
    """Weights of rows, of mean 1 so that a penalty means what it does without; None: all rows weigh the same."""
    weights = np.array([row.weight for row in rows])
    return None if len(rows) == 0 or np.ptp(weights) == 0 else weights / weights.mean()


def texts_of(rows: Iterable[Example]) -> list[str]:
    """The prompts' fields, one under the other; options are among them where the prompt shows them."""
    return ["\n".join(row.fields.values()) for row in rows]


def labelled(labels: Sequence[str], table: Iterable[Iterable[float]]) -> list[Prediction]:
    """Return the likeliest label of each row with the probabilities of all.

    Args:
        labels: Columns of the table.
        table: Probabilities, N x K.
    """
    rows = [tuple(float(value) for value in row) for row in table]
    return [Prediction(labels[max(range(len(row)), key=row.__getitem__)], row) for row in rows]

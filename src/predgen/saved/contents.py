"""What the folder of a saved model holds, in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from predgen.config import RunConfig
from predgen.core import TaskSpec
from predgen.data.digests import RowDigests
from predgen.data.encode import Encoder
from predgen.engine.base_model import BaseModel
from predgen.models.base import PredictionModel
from predgen.models.targets import TargetsModel
from predgen.targets import TargetSpec
from predgen.uncertainty.record import CalibrationRecord


@dataclass
class Contents:
    """A model with everything that belongs to it: prompt, codec, task, settings, measurements.

    Attributes:
        model: The prediction model, in eval state.
        base: The base model it was made from.
        encoder: Rows -> token ids.
        task: Task, with prompt, columns and metrics.
        config: All settings of the run.
        report: Measurements and facts of the training run, plain JSON data.
        trained_rows: Digests of the training rows; None where they are not known (older saved models).
        calibration: What is known of rows that chose nothing of the model; None: it is not calibrated.
    """

    model: PredictionModel
    base: BaseModel
    encoder: Encoder
    task: TaskSpec
    config: RunConfig
    report: dict[str, Any] = field(default_factory=dict)
    trained_rows: RowDigests | None = None
    calibration: CalibrationRecord | None = None


@dataclass
class TargetContents:
    """A model with several targets, and everything that belongs to it.

    Attributes:
        model: The prediction models over one language model, in eval state.
        base: The base model it was made from.
        config: All settings of the run.
        specs: The targets, in the order in which they were given, labels of multi-label ones named.
        parts: Name of each question -> its model alone, in the order of the names.
        report: Measurements and facts of the training run, plain JSON data.
        trained_rows: Digests of the training rows; None where they are not known.
    """

    model: TargetsModel
    base: BaseModel
    config: RunConfig
    specs: tuple[TargetSpec, ...]
    parts: Mapping[str, Contents]
    report: dict[str, Any] = field(default_factory=dict)
    trained_rows: RowDigests | None = None

"""What the folder of a saved model holds, in memory."""

from dataclasses import dataclass, field
from typing import Any

from predgen.config import RunConfig
from predgen.core import TaskSpec
from predgen.data.digests import RowDigests
from predgen.data.encode import Encoder
from predgen.engine.base_model import BaseModel
from predgen.models.base import PredictionModel
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

"""Time and memory of a run before it is begun."""

import resource
import sys
from dataclasses import asdict, dataclass
from typing import Any

from predgen.config import RunConfig
from predgen.errors import ConfigError
from predgen.figures import number
from predgen.inference.trained import TrainedModel
from predgen.precision import with_precision
from predgen.progress import duration_in_words
from predgen.training.cost import Costs, spread
from predgen.training.pace import Amounts
from predgen.training.rows import TrainingData
from predgen.training.run import zero_shot

_GB = 1e9
_ENCODED_ROWS = 512


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """What a run is going to take; seconds of loading the base and of what an early stop saves are not in it.

    Attributes:
        steps: Optimizer steps.
        tokens_per_row: Mean tokens of prompt and answer.
        step_operations: Floating point operations of an optimizer step.
        row_operations: Those of a predicted row.
        training_s: Seconds of all steps.
        looks_s: Seconds of the looks at validation rows.
        row_s: Seconds of a predicted row among many.
        weights_bytes: Weights of base, adapter and heads.
        optimizer_bytes: Gradients of what trains, and what the optimizer keeps of it.
        activations_bytes: What autograd keeps of a micro-batch of the longest rows.
        libraries_bytes: Python and its libraries; on a CPU only, where they share the memory.
    """

    steps: int
    tokens_per_row: float
    step_operations: float
    row_operations: float
    training_s: float
    looks_s: float
    row_s: float
    weights_bytes: int
    optimizer_bytes: int
    activations_bytes: int
    libraries_bytes: int

    @property
    def memory_bytes(self) -> int:
        """All of the memory."""
        return self.weights_bytes + self.optimizer_bytes + self.activations_bytes + self.libraries_bytes

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {**asdict(self), "memory_bytes": self.memory_bytes}

    def in_words(self, predict_rows: int | None = None) -> list[str]:
        """Lines to show.

        Args:
            predict_rows: Rows that are to be predicted later; None: nothing is said about them.
        """
        parts = {
            "weights": self.weights_bytes,
            "gradients and optimizer": self.optimizer_bytes,
            "activations": self.activations_bytes,
            "Python and libraries": self.libraries_bytes,
        }
        told = ", ".join(f"{name} {number(size / _GB, 2)}" for name, size in parts.items() if size)
        lines = [
            f"Training: about {duration_in_words(self.training_s)}, {self.steps} steps of"
            f" {number(self.step_operations, 2)} operations ({number(self.training_s / self.steps, 2)} s), rows of"
            f" {number(self.tokens_per_row, 3)} tokens.",
            f"Looks at validation rows: about {duration_in_words(self.looks_s)}.",
            f"Memory: about {number(self.memory_bytes / _GB, 2)} GB ({told}).",
        ]
        if predict_rows is not None:
            lines.append(
                f"Predicting {predict_rows} rows: about {duration_in_words(predict_rows * self.row_s)},"
                f" {number(self.row_operations, 2)} operations a row ({number(self.row_s, 2)} s)."
            )
        return lines


def estimate_run(config: RunConfig, data: TrainingData, *, tflops: float | None = None) -> RunEstimate:
    """Estimate a run from a few probes of its own rows on its own base; nothing is trained.

    Args:
        config: The run's settings.
        data: Its rows.
        tflops: Speed of other hardware, in 10^12 operations a second as they are reached, not as they are sold; None: this
            machine, as it is while it is probed.

    Raises:
        ConfigError: If there are several targets, or the speed is not above 0.
        PredgenError: If settings, data or base model cannot be used.
    """
    if config.targets is not None:
        raise ConfigError(
            f"`targets` names {len(config.targets)} targets, but a run of one is estimated. Give `target`."
        )
    if tflops is not None and tflops <= 0:
        raise ConfigError(f"`tflops` is {tflops}, but must be above 0.")
    libraries = _resident()
    config, _ = with_precision(config)
    trained = zero_shot(config, data)
    rows = [trained.encoder.encode(example) for example in data.train[:: -(-len(data.train) // _ENCODED_ROWS)]]
    costs = Costs.measured(trained, config, spread(rows, _ENCODED_ROWS))
    amounts = Amounts.of(config, len(data.train), len(data.validation))
    (step, calls), (row, row_calls) = costs.of_step(config), costs.of_predictions(config)
    if tflops is None:
        step_s, row_s = costs.train.speed.seconds(calls, step), costs.predict.speed.seconds(row_calls, row)
    else:
        step_s, row_s = step / tflops / 1e12, row / tflops / 1e12
    return RunEstimate(
        amounts.steps,
        sum(costs.lengths) / len(costs.lengths),
        step,
        row,
        amounts.steps * step_s,
        amounts.predicted * row_s,
        row_s,
        *_weights(trained, config),
        round(costs.kept_at_most(config)),
        libraries if costs.device == "cpu" else 0,
    )


def _weights(trained: TrainedModel, config: RunConfig) -> tuple[int, int]:
    """Bytes of the weights, and of gradients and optimizer."""
    weights = list(trained.model.parameters())
    of_all = sum(weight.numel() * weight.element_size() for weight in weights)
    copies = {"adamw": 3, "sgd": 1}[config.optimizer]  # gradient; AdamW's two means
    return of_all, copies * sum(w.numel() * w.element_size() for w in weights if w.requires_grad)


def _resident() -> int:
    """Bytes that this process had at most so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

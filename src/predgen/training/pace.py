"""How fast a run is on this machine, measured on a few of its own rows before it begins."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from predgen.config import RunConfig
from predgen.core import Example, TaskSpec
from predgen.data.collate import collate
from predgen.precision import with_precision
from predgen.sampling.draws import SamplingPlan
from predgen.training.rows import TrainingData
from predgen.training.run import zero_shot

_ROWS = 4  # on a CPU as fast, row by row, as a whole batch


@dataclass(frozen=True, slots=True)
class Pace:
    """Speed of a run, by the characters of its prompts: known of all rows without a tokenizer.

    Attributes:
        train_s: Seconds per character of a row that is trained on: forward and backward.
        predict_s: Seconds per character of a row that is predicted.
    """

    train_s: float
    predict_s: float


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much a run does; steps that an early stop saves are counted.

    Attributes:
        steps: Optimizer steps.
        trained: Rows that are trained on, all passes counted.
        predicted: Validation rows that are predicted while training; the last look's are not predicted again.
    """

    steps: int
    trained: float
    predicted: int

    @classmethod
    def of(cls, config: RunConfig, n_train: int, n_validation: int) -> "Amounts":
        """Count.

        Args:
            config: The run's settings.
            n_train: Training rows.
            n_validation: Validation rows.
        """
        per_epoch = math.ceil(n_train / (config.batch_size * config.gradient_accumulation))
        steps = config.max_steps or math.ceil(config.epochs * per_epoch)
        looks = math.ceil(steps / (config.eval_steps or per_epoch))
        return cls(steps, steps / per_epoch * n_train, looks * n_validation)


def measure_pace(config: RunConfig, data: TrainingData) -> Pace:
    """Time a few rows of middle length, forward and backward, and predicted; nothing is trained.

    Args:
        config: The run's settings. Of scheduled sampling the middle of the run is timed, where p is 0.5.
        data: Its rows.

    Raises:
        PredgenError: If settings, data or base model cannot be used.
    """
    config, _ = with_precision(config)
    trained = zero_shot(config, data)
    n_rows = config.batch_size if torch.accelerator.is_available() else min(_ROWS, config.batch_size)
    examples = middle_rows(data.train, n_rows)
    rows = [trained.encoder.encode(example) for example in examples]
    batch = collate(rows, trained.pad_id, trained.model.backbone.device)
    plan = SamplingPlan(0.5, config.seed, 0)
    n_characters = characters(data.task, examples)

    def step() -> None:
        with torch.autocast(batch.weight.device.type, torch.bfloat16, enabled=config.bf16):
            losses = trained.model(batch, plan, "example")
        losses.total.backward()
        trained.model.zero_grad()

    trained.model.train()
    train_s = seconds_of(step)
    trained.model.eval()
    return Pace(train_s / n_characters, seconds_of(lambda: trained.predict_encoded(rows)) / n_characters)


def characters(task: TaskSpec, rows: Sequence[Example]) -> int:
    """Length of the rows' prompts together."""
    return sum(len(task.prompt.format_map(row.fields)) for row in rows)


def middle_rows(rows: Sequence[Example], n: int) -> list[Example]:
    """The rows whose prompts are of middle length."""
    ordered = sorted(rows, key=lambda row: sum(map(len, row.fields.values())))
    start = max(0, (len(ordered) - n) // 2)
    return list(ordered[start : start + n])


def seconds_of(run: Callable[[], object]) -> float:
    """Time of a call, the second one: the first one also sets things up."""
    run()
    start = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start

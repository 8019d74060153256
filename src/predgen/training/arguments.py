"""A run's settings as transformers' Trainer takes them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from predgen.config import RunConfig
from predgen.metrics.base import metric_of

OF_PREDICTION_TRAINER: Mapping[str, Any] = {
    "restore_callback_states_from_checkpoint": True,
    "logging_nan_inf_filter": False,
    "remove_unused_columns": False,
    "train_sampling_strategy": "sequential",  # the data set itself has an order for each epoch
    "label_names": [],
    "accelerator_config": {"even_batches": False, "use_seedable_sampler": False},
    "average_tokens_across_devices": False,
}
"""What `loop.PredictionTrainer` has to be told, whatever it trains."""


def trainer_arguments(
    config: RunConfig,
    folder: Path,
    metric: str | None,
    *,
    greater_is_better: bool | None = None,
    **more: Any,  # noqa: ANN401
) -> TrainingArguments:
    """Return arguments for Trainer: passes, batches, rate, schedule, looks at validation rows, on the device that is there.

    Args:
        config: The settings.
        folder: Where Trainer writes.
        metric: Validation metric that selects the checkpoint; None: there are no validation rows.
        greater_is_better: Whether a greater value of it is better; None: as the registered metric says.
        more: Further arguments; they override.
    """
    if metric is not None and greater_is_better is None:
        greater_is_better = metric_of(metric, config.own).greater_is_better
    by = "steps" if config.eval_steps else "epoch"
    found: dict[str, Any] = {
        "output_dir": str(folder),
        "num_train_epochs": config.epochs,
        "max_steps": config.max_steps or -1,
        "per_device_train_batch_size": config.batch_size,
        "gradient_accumulation_steps": config.gradient_accumulation,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.lr_schedule,
        # A number below 1 is a share of all steps.
        "warmup_steps": config.warmup_ratio if config.warmup_steps is None else config.warmup_steps,
        "weight_decay": config.weight_decay,
        "optim": {"adamw": "adamw_torch", "sgd": "sgd"}[config.optimizer],
        "max_grad_norm": config.max_grad_norm,
        "bf16": config.bf16,
        "seed": config.seed,
        "eval_strategy": "no" if metric is None else by,
        "eval_steps": config.eval_steps,
        "save_strategy": by,
        "save_steps": config.eval_steps or 500,
        "metric_for_best_model": metric,
        "greater_is_better": None if metric is None else greater_is_better,
        "logging_steps": 1,
        "disable_tqdm": True,
        "report_to": [],
        "use_cpu": not torch.accelerator.is_available(),  # said aloud, else several CPU processes do not find each other
        "dataloader_pin_memory": torch.cuda.is_available(),
        "log_level": "error",
    }
    return TrainingArguments(**{**found, **more})

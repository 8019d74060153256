"""Presets: the settings of a published experiment, per task, with what was published and what was not told apart."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from predgen import registries
from predgen.components import defaults_of, value_of
from predgen.errors import ConfigError

_TABLE3 = "assets/paper/table3_hyperparameters.csv"
_ROWS = {  # task -> its row of Table 3
    "boolq": "BoolQ",
    "piqa": "PIQA",
    "siqa": "SIQA",
    "hellaswag": "HellaSwag",
    "winogrande": "WinoGrande",
    "arc_easy": "ARC-e",
    "arc_challenge": "ARC-c",
    "obqa": "OBQA",
    "wassa": "WASSA",
    "sick": "SICK",
    "stsb": "stsb",
    "lcp_single": "LCP",
    "lcp_multi": "LCP",
    "clear": "CLEAR",
    "humicroedit": "Humicroedit",
}
_COLUMNS: Mapping[str, tuple[str, type]] = {  # column of Table 3 -> our setting and its type
    "Learning Rate": ("learning_rate", float),
    "Batch Size": ("batch_size", int),
    "Grad. Accum. Steps": ("gradient_accumulation", int),
    "Epochs": ("epochs", float),
    "Warmup Steps": ("warmup_steps", int),
    "LR Scheduler Type": ("lr_schedule", str),
    "Max Steps for Sampling": ("max_steps_for_sampling", int),
}

PAPER_METHOD = {
    "method": "predgen",
    "loss": "wdal",
    "sampling": "sequence",
    "sampling_schedule": "linear",
    "head_norm": "none",
    "calibrate": False,
}
"""What the paper does everywhere (section 4, appendix D): its alignment loss as stated, sequence-level scheduled sampling, and
heads on states as they are. It calibrates nothing: all validation rows choose the checkpoint."""

PAPER_DIRECTOR = {"classification": "linear", "regression": "ordered"}
"""The paper's task adapters (D.1, D.2)."""

MATH_SAMPLING = {"max_steps_for_sampling": 1000}
"""Best on MultiArith (paper, Figure 4)."""

ADAPTER = "lora"
"""The paper runs several adapters without giving ranks: LoRA, unless another is asked for, with the settings of its own paper."""

MAX_LENGTH = 512
"""The paper gives no lengths: our default."""

CLASSIFICATION_ROW = "BoolQ"
"""Row of Table 3 for classification tasks that are not in it (SST-2)."""

MATH_DEFAULTS = {
    "learning_rate": 3e-4,
    "batch_size": 4,
    "gradient_accumulation": 4,
    "epochs": 3.0,
    "warmup_steps": 100,
    "lr_schedule": "cosine",
    "director": "ordered",
}
"""Training on word problems is not in Table 3.

Rate, rows per step (16 as 4 x 4) and epochs are those that LLM-Adapters (arXiv:2304.01933) trains math_10k with, in the
`math_running_commands` of its repository, and the 100 warm-up steps those of its `finetune.py`. It leaves the schedule at
transformers' linear one; cosine is what the PredGen paper has for every task of its table, and `ordered` its adapter for numbers.
"""


@dataclass(frozen=True)
class Preset:
    """Settings for one task.

    Attributes:
        name: Name of the preset.
        task: Name of the task.
        published: Settings that the source gives for this task.
        defaults: Settings that it does not give.
    """

    name: str
    task: str
    published: Mapping[str, Any]
    defaults: Mapping[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """All settings, for `config_from`; prompt and answer format are the task's own."""
        return {**self.defaults, **self.published}

    def described(self, overridden: Mapping[str, Any]) -> str:
        """Say which settings are in effect, by where they come from.

        Args:
            overridden: Settings given otherwise, which win.
        """
        parts = {"in the paper": self.published, "not in the paper": self.defaults}
        lines = [f"preset {self.name!r} for {self.task}:"]
        for where, settings in parts.items():
            given = {name: value for name, value in settings.items() if value is not None}
            kept = [f"{name} {value}" for name, value in given.items() if name not in overridden]
            lines.append(f"  {where}: {', '.join(kept) or 'nothing'}")
        changed = [f"{name} {overridden[name]}" for name in self.settings if name in overridden]
        return "\n".join([*lines, *([f"  overridden: {', '.join(changed)}"] if changed else [])])


def paper(task: str, peft: str = ADAPTER) -> Preset:
    """Return the PredGen paper's settings for a task.

    Args:
        task: Name of the task.
        peft: Name of the PEFT method.

    Raises:
        ConfigError: If the task or the PEFT method is unknown.

    Source: Kowsher et al. (2025), Table 3, sections 4 and 6, appendix D, arXiv:2502.17817.

    Example:
        >>> paper("sick").published["batch_size"], paper("sick").defaults["rank"]
        (6, 8)
    """
    task = registries.tasks.canonical(task)
    kind = value_of(registries.tasks, task).kind
    director = {"director": PAPER_DIRECTOR[kind]} if kind in PAPER_DIRECTOR else {}
    published = {**PAPER_METHOD, **director}
    ours = {"peft": peft, **defaults_of(registries.peft_methods, peft), "max_length": MAX_LENGTH}
    if task in _ROWS:
        return Preset("paper", task, {**_table3()[_ROWS[task]], **published}, ours)
    if kind == "math":
        return Preset("paper", task, {**MATH_SAMPLING, **published}, {**MATH_DEFAULTS, **ours})
    if kind == "classification":
        return Preset("paper", task, published, {**_table3()[CLASSIFICATION_ROW], **ours})
    known = ", ".join(_ROWS)
    raise ConfigError(f"preset 'paper' has no settings for the {kind} task {task!r}; it has them for {known}.")


def _table3() -> dict[str, dict[str, Any]]:
    """Rows of the paper's Table 3, as our settings."""
    text = resources.files("predgen").joinpath(_TABLE3).read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return {row["Dataset"]: {name: kind(row[column]) for column, (name, kind) in _COLUMNS.items()} for row in rows}

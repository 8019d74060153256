"""Small data sets and settings for tests that train: nothing is downloaded, a run takes a second or less."""

import random
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tiny_models import save_tiny
from tokenizers_for_tests import char_level

from predgen.config import RunConfig
from predgen.core import Example, Target
from predgen.data.examples import custom_task
from predgen.training.loop import WEIGHTS, last_checkpoint
from predgen.training.prepare import TrainingData

PROMPT = "{text}:"
VALUES = {"classification": ("no", "yes", "not sure"), "regression": (0.5, 12.5, 3.0, 9.5, 7.0)}


def base_folder(folder: Path, family: str = "llama") -> Path:
    """Write a tiny base model with one token per character."""
    return save_tiny(family, folder, char_level())


def examples(n: int, kind: str = "classification", *, first_row: int = 0, weights: list[float] | None = None) -> list[Example]:
    """Return rows whose prompts differ in length and whose targets take turns."""
    rng = random.Random(first_row + 1)
    values = VALUES[kind]
    rows = []
    for i in range(n):
        text = "".join(rng.choice("abcdef ") for _ in range(rng.randint(3, 12)))
        rows.append(Example(first_row + i, {"text": f"x{text}"}, Target(values[i % len(values)]), weights[i] if weights else 1.0))
    return rows


def in_memory(kind: str = "classification", n: int = 13, n_validation: int = 0, weights: list[float] | None = None) -> TrainingData:
    """Return training rows, and validation rows with other prompts."""
    task = custom_task(prompt=PROMPT, target="value", kind=kind)
    validation = examples(n_validation, kind, first_row=1000)
    return TrainingData(task, examples(n, kind, weights=weights), validation)


def settings(base: Path, kind: str = "classification", **changes: Any) -> RunConfig:  # noqa: ANN401
    """Return settings of a short run; `changes` override them."""
    defaults: dict[str, Any] = {
        "data": "rows.csv",
        "prompt": PROMPT,
        "target": "value",
        "kind": kind,
        "model": str(base),
        "rank": 2,
        "alpha": 4.0,
        "batch_size": 4,
        "epochs": 2,
        "lr_schedule": "constant",
        "warmup_ratio": 0.0,
        "learning_rate": 1e-2,
        "max_grad_norm": 0.0,
    }
    return RunConfig(**{**defaults, **changes})


def largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Return the largest absolute difference of two sets of weights with the same names."""
    assert one.keys() == other.keys()
    assert one
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def identical(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of weights have the same names and the same bits."""
    assert one
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def checkpoint_weights(run: Path) -> dict[str, torch.Tensor]:
    """Weights of the last checkpoint of an unfinished run."""
    checkpoint = last_checkpoint(run / "checkpoints")
    assert checkpoint is not None
    return load_file(str(checkpoint / WEIGHTS))

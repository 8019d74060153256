"""A run of several targets, small enough to be built in each test: rows, settings, and the model before its first step."""

from pathlib import Path
from typing import Any

import torch

from predgen.config import RunConfig
from predgen.engine.base_model import load_base
from predgen.peft_methods.base import apply_peft
from predgen.registries import peft_methods
from predgen.sampling.draws import SamplingPlan
from predgen.training.subjects import SeveralTargets
from predgen.training.target_rows import load_target_rows
from tiny_runs import WORDS

TARGETS: list[Any] = [
    {"name": "stars", "kind": "regression"},
    "mood:classification",
    {"name": "urgency", "kind": "ordinal", "labels": ["low", "mid", "high"]},
    "tags:multilabel",
]
PLAN = SamplingPlan(0.5, 0, 0)


def rows(n: int = 40) -> list[dict[str, Any]]:
    return [
        {
            "text": f"{WORDS[i % 6]} {i}",
            "stars": i % 5,
            "mood": ("good", "bad", "")[i % 3],
            "urgency": ("low", "mid", "high")[i % 3],
            "tags": (["a", "b"], ["a"], [], None)[i % 4],
        }
        for i in range(n)
    ]


def settings(base: Path, method: str, targets: Any = TARGETS, **more: Any) -> RunConfig:
    given = {"max_steps": 3, "batch_size": 4, "learning_rate": 0.01, **more}
    return RunConfig(prompt="{text}", targets=targets, method=method, model=str(base), **given)


def subject(config: RunConfig, given: list[dict[str, Any]]) -> SeveralTargets:
    """A model before its first step, with its rows."""
    made = SeveralTargets(config, load_target_rows(config, rows=given))
    made.set_up()
    torch.manual_seed(0)
    found = load_base(config.model, dtype="float32", trust_remote_code=False)
    found.lm = apply_peft(
        peft_methods.get(config.peft), found.lm, config.peft_settings(), total_optimizer_steps=3, seed=0
    )
    made.build(found, None)
    return made


def gradients(model: torch.nn.Module, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

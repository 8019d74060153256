"""The tuners that PEFT does not have, each with small settings, made by PEFT itself."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch import Tensor

from adapted_models import shake
from predgen.peft_methods import MeloraConfig, MosloraConfig, PropulsionConfig, RocoftConfig
from predgen.peft_methods.tuners.base import TunerConfig
from tiny_models import tiny_model

ALL = "all-linear"
CASES: dict[str, Callable[..., TunerConfig]] = {
    "rocoft-column": lambda **k: RocoftConfig(**{"r": 3, **k}),
    "rocoft-row": lambda **k: RocoftConfig(**{"r": 3, "axis": "row", **k}),
    "rocoft-random": lambda **k: RocoftConfig(**{"r": 2, "selection": "random", "seed": 4, **k}),
    "rocoft-indices": lambda **k: RocoftConfig(
        **{"r": 2, "axis": "row", "selection": "indices", "indices": [7, 0], **k}
    ),
    "melora": lambda **k: MeloraConfig(**{"r": 2, "n": 4, "alpha": 3.0, **k}),
    "moslora": lambda **k: MosloraConfig(**{"r": 3, "alpha": 2.0, **k}),
    "propulsion": lambda **k: PropulsionConfig(**{"degree": 3, **k}),
}
each_case = pytest.mark.parametrize("case", CASES)
each_family = pytest.mark.parametrize("family", ["llama", "gpt2"])
quiet = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # PEFT 0.21


def model_with_biases(family: str) -> Any:
    """A tiny model whose biases, where it has some, are not 0."""
    model = tiny_model(family)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(3)
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.2)
    return model


def with_adapter(case: str, family: str = "llama", base: Any = None, **settings: Any) -> Any:
    """A tiny model with a fresh adapter, made by PEFT itself."""
    torch.manual_seed(0)
    config = CASES[case](target_modules=ALL, task_type="CAUSAL_LM", **settings)
    return get_peft_model(model_with_biases(family) if base is None else base, config)


def trained(case: str, family: str = "llama", **settings: Any) -> Any:
    model = with_adapter(case, family, **settings)
    shake(model)
    return model


def assert_close(first: Tensor, second: Tensor, relative: float = 3e-6) -> None:
    """Equal up to float32 rounding, relative to the largest entry."""
    assert float((first - second).abs().max()) <= relative * float(second.abs().max())

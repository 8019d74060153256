"""Tiny models with adapters, and what tests of PEFT methods do with them."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from predgen import registries
from predgen.components import defaults_of
from predgen.peft_methods.base import apply_peft
from tiny_models import tiny_model

RANK, ALPHA, STEPS = 2, 4.0, 40
IDS = torch.tensor([[3, 7, 11, 2, 9, 30, 31]])


def options_of(name: str, rank: int = RANK, **settings: Any) -> dict[str, Any]:
    """A method's settings: small ones where the method has them, else its defaults."""
    own = defaults_of(registries.peft_methods, name)
    return {key: {"rank": rank, "alpha": ALPHA, **settings}.get(key, default) for key, default in own.items()}


def adapted(name: str, family: str = "llama", *, seed: int = 0, rank: int = RANK, **settings: Any) -> Any:
    """A tiny model with a method's adapter, drawn with a seed of its own."""
    torch.manual_seed(seed)
    method = registries.peft_methods.get(name)
    options = options_of(name, rank, **settings)
    return apply_peft(method, tiny_model(family), options, total_optimizer_steps=STEPS, seed=seed)


def trained_numbers(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def layers_of(family: str) -> list[tuple[str, int, int]]:
    """Name, inputs and outputs of every linear layer but the output embedding."""
    found = []
    for name, module in tiny_model(family).named_modules():
        if isinstance(module, Conv1D):
            found.append((name, *module.weight.shape))
        elif isinstance(module, nn.Linear) and name != "lm_head":
            found.append((name, module.in_features, module.out_features))
    return found


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(input_ids=IDS).logits
    return found


def shake(model: nn.Module, seed: int = 5) -> None:
    """Stand for training: move every trained number."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                size = 0.02 if "propulsion" in name else 0.3  # raised to the 15th power
                parameter.add_(size * torch.randn_like(parameter))

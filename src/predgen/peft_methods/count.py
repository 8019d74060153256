"""How many numbers of a base model a PEFT method trains, counted on a model without weights."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig

from predgen import registries
from predgen.components import defaults_of
from predgen.peft_methods.base import apply_peft


def trainable_parameters(name: str, config: PretrainedConfig, options: Mapping[str, Any] | None = None) -> int:
    """Count what trains in a causal language model when training starts (AdaLoRA prunes later); heads not counted.

    Args:
        name: PEFT method.
        config: The model's configuration; no weights are read or made.
        options: The method's settings; None: its defaults.

    Raises:
        ConfigError: If an option does not fit a layer's size.

    Example:
        >>> from transformers import GPT2Config
        >>> trainable_parameters("propulsion", GPT2Config(n_embd=8, n_head=2, n_layer=1, vocab_size=16))
        72
    """
    if options is None:
        options = defaults_of(registries.peft_methods, name)
    with torch.device("meta"):
        lm = AutoModelForCausalLM.from_config(config)
        model = apply_peft(registries.peft_methods.get(name), lm, options, total_optimizer_steps=1)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)

"""LoRA-FA: LoRA whose A stays at its random start."""

from peft import PeftModel
from peft.tuners.lora import LoraLayer

from predgen.peft_methods.base import PeftMethod
from predgen.peft_methods.lora import lora_config


def freeze_a(model: PeftModel) -> None:
    """Freeze A in a way that PEFT keeps when adapters are disabled, switched or reloaded.

    Defaults: rank 128, alpha 256, as in the authors' published run.

    Source: Zhang et al. (2023), "LoRA-FA", arXiv:2308.03303 (first version: only A is frozen).
    """
    for module in model.modules():
        if isinstance(module, LoraLayer):
            # The class holds one dict shared by all layers: give each layer its own.
            module.frozen_peft_weight_names = {**module.frozen_peft_weight_names, "default": ("lora_A",)}
            module.lora_A.requires_grad_(False)


LORA_FA = PeftMethod("lora_fa", "adapter", lora_config, after_injection=freeze_a)

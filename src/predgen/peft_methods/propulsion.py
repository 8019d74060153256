"""Propulsion: a trained factor for each output of each linear layer."""

from peft import PeftConfig, TaskType

from predgen.peft_methods.base import PeftMethod, PeftSettings
from predgen.peft_methods.tuners.propulsion import PropulsionConfig


def propulsion_config(settings: PeftSettings) -> PeftConfig:
    """z^k * (W x + b) on every linear layer but the output embedding.

    Default: degree k = 15, as in the authors' layer class; their GLUE notebooks use 35 and 55. The step of z^k is about
    k times the learning rate, so a higher degree wants a lower rate.

    Source: Kowsher et al. (2024), "Propulsion", arXiv:2409.10927; see `PropulsionConfig` for what differs.
    """
    return PropulsionConfig(
        task_type=TaskType.CAUSAL_LM, target_modules="all-linear", degree=settings.options["propulsion_degree"]
    )


PROPULSION = PeftMethod("propulsion", "adapter", propulsion_config)

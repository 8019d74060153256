"""PEFT method `lora_dropout`: LoRA with a dropout on its inputs."""

from dataclasses import dataclass

from peft import LoraConfig, PeftConfig, TaskType

from predgen.peft_methods.base import PeftMethod, PeftSettings
from predgen.peft_methods.settings import LoraSettings
from predgen.registries import peft_methods
from predgen.settings import setting


@dataclass(frozen=True)
class LoraDropoutSettings(LoraSettings):
    """Settings of PEFT method `lora_dropout`: rank and scale are LoRA's."""

    adapter_dropout: float = setting(
        0.1, "PEFT 'lora_dropout': share of inputs left out in training.", low=0.0, high=0.9
    )


def config(settings: PeftSettings) -> PeftConfig:
    """W + (alpha / r) B A dropout(x)."""
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=settings.options["rank"],
        lora_alpha=settings.options["alpha"],
        lora_dropout=settings.options["adapter_dropout"],
        target_modules="all-linear",
        fan_in_fan_out=settings.is_conv1d,
    )


LORA_DROPOUT = PeftMethod("lora_dropout", "adapter", config)

peft_methods.register(
    "lora_dropout",
    f"{__name__}:LORA_DROPOUT",
    "LoRA with dropout",
    facts={"formula": "W + (alpha / r) B A", "count": "r (i + o)"},
    settings=LoraDropoutSettings,
)

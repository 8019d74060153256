"""LoRA."""

from peft import LoraConfig, PeftConfig, TaskType

from predgen.peft_methods.base import PeftMethod, PeftSettings


def lora_config(settings: PeftSettings, *, use_dora: bool = False) -> PeftConfig:
    """W + (alpha / r) B A on every linear layer but the output embedding; B starts at 0.

    Defaults: rank 8, as in the paper's RoBERTa runs, and alpha 16.

    Source: Hu et al. (2022), "LoRA", arXiv:2106.09685. Differs: the paper adapts the query and value projections only.
    """
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=settings.options["rank"],
        lora_alpha=settings.options["alpha"],
        lora_dropout=0.0,
        target_modules="all-linear",
        use_dora=use_dora,
        fan_in_fan_out=settings.is_conv1d,
    )


LORA = PeftMethod("lora", "adapter", lora_config)

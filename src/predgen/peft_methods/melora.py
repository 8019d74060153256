"""MELoRA: a block-diagonal update made of small LoRAs."""

from peft import PeftConfig, TaskType

from predgen.peft_methods.base import PeftMethod, PeftSettings
from predgen.peft_methods.tuners.melora import MeloraConfig


def melora_config(settings: PeftSettings) -> PeftConfig:
    """W + (alpha / r) blockdiag(B_j A_j) on every linear layer but the output embedding; `rank` is that of each block.

    Defaults: 8 blocks of rank 1, alpha 16, as in the paper's LLaMA runs.

    Source: Ren et al. (2024), "MELoRA", arXiv:2402.17263; see `MeloraConfig` for what differs. Differs also: the paper
        adapts the query and value projections only.
    """
    return MeloraConfig(
        task_type=TaskType.CAUSAL_LM,
        target_modules="all-linear",
        r=settings.options["rank"],
        alpha=settings.options["alpha"],
        n=settings.options["melora_blocks"],
    )


MELORA = PeftMethod("melora", "adapter", melora_config)

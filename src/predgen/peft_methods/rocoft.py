"""RoCoFT: some rows or columns of each linear layer train."""

from peft import PeftConfig, TaskType

from predgen.peft_methods.base import PeftMethod, PeftSettings
from predgen.peft_methods.tuners.rocoft import RocoftConfig


def rocoft_config(settings: PeftSettings) -> PeftConfig:
    """W[:, columns] += D, or W[rows] += D, on every linear layer but the output embedding; `rank` of them.

    Defaults: the first 3 columns, as in the paper's LLaMA runs and in PredGen's notebooks.

    Source: Kowsher et al. (2024), "RoCoFT", arXiv:2410.10075; see `RocoftConfig` for what differs.
    """
    return RocoftConfig(
        task_type=TaskType.CAUSAL_LM,
        target_modules="all-linear",
        r=settings.options["rank"],
        axis=settings.options["rocoft_axis"],
        selection=settings.options["rocoft_selection"],
        seed=settings.seed,
    )


ROCOFT = PeftMethod("rocoft", "adapter", rocoft_config)

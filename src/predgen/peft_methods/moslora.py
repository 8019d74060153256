"""MoSLoRA: LoRA with a trained mixer between its factors."""

from peft import PeftConfig, TaskType

from predgen.peft_methods.base import PeftMethod, PeftSettings
from predgen.peft_methods.tuners.moslora import MosloraConfig


def moslora_config(settings: PeftSettings) -> PeftConfig:
    """W + (alpha / r) B M A on every linear layer but the output embedding.

    Defaults: rank 16, alpha 32, as in the paper's LLaMA runs.

    Source: Wu et al. (2024), "Mixture-of-Subspaces in Low-Rank Adaptation", arXiv:2406.11909; see `MosloraConfig` for
        what differs. Differs also: the paper leaves out the attention's output and the MLP's gate projection.
    """
    return MosloraConfig(
        task_type=TaskType.CAUSAL_LM,
        target_modules="all-linear",
        r=settings.options["rank"],
        alpha=settings.options["alpha"],
    )


MOSLORA = PeftMethod("moslora", "adapter", moslora_config)

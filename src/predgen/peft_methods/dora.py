"""DoRA: LoRA with a learned magnitude for each output row."""

from functools import partial

from predgen.peft_methods.base import PeftMethod
from predgen.peft_methods.lora import lora_config

# m * (W + (alpha / r) B A) / |W + (alpha / r) B A|, norms per output row, m = |W| at the start.
# Defaults: rank 32, alpha 64, as in the paper's LLaMA runs.
# Source: Liu et al. (2024), "DoRA: Weight-Decomposed Low-Rank Adaptation", arXiv:2402.09353.
DORA = PeftMethod("dora", "adapter", partial(lora_config, use_dora=True))

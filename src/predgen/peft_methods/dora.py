"""DoRA: LoRA with a learned magnitude for each output row."""

from functools import partial

from predgen.peft_methods.base import PeftMethod
from predgen.peft_methods.lora import lora_config

# Source: Liu et al. (2024), "DoRA: Weight-Decomposed Low-Rank Adaptation", arXiv:2402.09353.
DORA = PeftMethod("dora", "adapter", partial(lora_config, use_dora=True))

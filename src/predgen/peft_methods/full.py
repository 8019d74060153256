"""Full fine-tuning: every weight of the base trains."""

from predgen.peft_methods.base import PeftMethod

FULL = PeftMethod("full", "everything")

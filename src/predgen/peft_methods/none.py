"""No fine-tuning of the base: only a head trains."""

from predgen.peft_methods.base import PeftMethod

NONE = PeftMethod("none", "nothing")

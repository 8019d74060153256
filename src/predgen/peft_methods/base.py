"""What a PEFT method is here: what trains, the adapter's configuration, and hooks for what PEFT leaves to callers."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from peft import PeftConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers.pytorch_utils import Conv1D


@dataclass(frozen=True, slots=True)
class PeftSettings:
    """What adapters are made from.

    Attributes:
        options: The settings of `RunConfig` that the method's line in the registry names, with their values.
        seed: Seed of the run, for choices that are not drawn from torch's generator.
        total_optimizer_steps: Length of the run; AdaLoRA plans its budget by it.
        is_conv1d: Whether the base stores linear layers transposed (GPT-2).
    """

    options: Mapping[str, Any]
    seed: int
    total_optimizer_steps: int
    is_conv1d: bool


@dataclass(frozen=True, slots=True)
class PeftMethod:
    """A way to fine-tune the base model.

    Attributes:
        name: Registry name.
        trains: What of the base trains: an "adapter", "everything" or "nothing".
        adapter: Makes the adapter's configuration; None without an adapter.
        after_injection: Called on the model whenever its adapter was made or loaded.
        has_rank_allocator: Whether PEFT has to be told of each optimizer step (AdaLoRA).
        after_training: Called on the model with the weights that the run ends with.
    """

    name: str
    trains: Literal["adapter", "everything", "nothing"]
    adapter: Callable[[PeftSettings], PeftConfig] | None = None
    after_injection: Callable[[PeftModel], None] | None = None
    has_rank_allocator: bool = False
    after_training: Callable[[PeftModel], None] | None = None


def apply_peft(
    method: PeftMethod,
    lm: Any,  # noqa: ANN401
    options: Mapping[str, Any],
    *,
    total_optimizer_steps: int,
    seed: int = 0,
) -> Any:  # noqa: ANN401
    """Return the model with the method's trainable weights, everything else frozen.

    Adapters go on the Hugging Face model itself, never on a wrapper with heads: heads train in full.

    Args:
        method: The method.
        lm: A causal language model; it is changed.
        options: The method's settings, by name (`RunConfig.peft_settings`).
        total_optimizer_steps: Length of the run.
        seed: Seed of the run.

    Raises:
        ConfigError: If an option does not fit a layer's size.
    """
    if method.trains == "everything":
        return lm.requires_grad_(True)
    lm.requires_grad_(False)
    if method.adapter is None:
        return lm
    is_conv1d = any(isinstance(module, Conv1D) for module in lm.modules())
    settings = PeftSettings(options, seed, max(1, total_optimizer_steps), is_conv1d)
    with _quiet_peft():
        return _finish(method, get_peft_model(lm, method.adapter(settings)))


def load_adapter(method: PeftMethod, lm: Any, folder: str) -> Any:  # noqa: ANN401
    """Return the model with an adapter that `save_pretrained` wrote; safetensors only."""
    lm.requires_grad_(False)
    with _quiet_peft():
        model = PeftModel.from_pretrained(lm, folder, is_trainable=False, use_safetensors=True)
    weights = load_file(str(Path(folder) / "adapter_model.safetensors"))
    for name, parameter in model.named_parameters():
        saved = weights.get(name.replace(".default", ""))
        if saved is not None:  # PEFT 0.21 has rounded pruned AdaLoRA weights to the base's type, bfloat16
            parameter.data = saved.to(parameter.device)
    return _finish(method, model)


@contextmanager
def _quiet_peft() -> Iterator[None]:
    """Silence what users can do nothing about: PEFT 0.21 calls a deprecated name, and doubts AdaLoRA's own ranks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", "The following rank_pattern keys did not match", RuntimeWarning)
        yield


def _finish(method: PeftMethod, model: PeftModel) -> PeftModel:
    """Run the method's hook."""
    if method.after_injection is not None:
        method.after_injection(model)
    return model

"""AdaLoRA: an SVD-form update whose rank budget moves between layers during training."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft import AdaLoraConfig, PeftConfig, PeftModel, TaskType
from peft.tuners.adalora import AdaLoraLayer
from safetensors.torch import load_file
from torch import Tensor

from predgen.errors import SavedModelError
from predgen.peft_methods.base import PeftMethod, PeftSettings, Recorded
from predgen.plain_data import read_json
from predgen.weights import TensorFacts

ORTHOGONALITY_WEIGHT = 0.1  # Zhang et al. (2023): 0.1 to 0.3
_AVERAGES = ("ipt", "exp_avg_ipt", "exp_avg_unc")
_PATTERN = "rank_pattern"


def adalora_config(settings: PeftSettings) -> PeftConfig:
    """W + alpha / k B diag(E) A; the rank starts at k = 1.5 r and is pruned to r on average.

    The budget falls between 10 % and 70 % of the run's optimizer steps.
    Defaults: rank 8, from 12, the largest of the paper's budgets, and alpha 16.

    Source: Zhang et al. (2023), "Adaptive Budget Allocation", arXiv:2303.10512 (12 -> 8).
    """
    rank, steps = settings.options["rank"], settings.total_optimizer_steps
    return AdaLoraConfig(
        task_type=TaskType.CAUSAL_LM,
        target_r=rank,
        init_r=math.ceil(1.5 * rank),
        tinit=steps // 10,
        tfinal=(3 * steps) // 10,
        deltaT=max(1, steps // 100),
        total_step=max(1, steps),
        lora_alpha=settings.options["alpha"],
        lora_dropout=0.0,
        target_modules="all-linear",
        fan_in_fan_out=settings.is_conv1d,
        orth_reg_weight=ORTHOGONALITY_WEIGHT,
    )


def hold_divisor(model: PeftModel) -> None:
    """Keep k at the initial rank, in float32: over a bfloat16 base PEFT 0.21 trains it, and does not save it."""
    for module in model.modules():
        if isinstance(module, AdaLoraLayer):
            divisor: Tensor = module.ranknum["default"].requires_grad_(False)
            initial: Any = model.peft_config["default"]
            divisor.data = torch.full((1,), float(initial.init_r), device=divisor.device)


def orthogonality(model: torch.nn.Module) -> Tensor:
    """Mean over all A and B of ||P P^T - I||_F: what PEFT adds only to losses that it computes itself."""
    norms = []
    for name, weight in model.named_parameters():
        if "lora_A" in name or "lora_B" in name:
            gram = weight @ weight.T if "lora_A" in name else weight.T @ weight
            norms.append(torch.linalg.norm(gram - torch.eye(len(gram), device=gram.device, dtype=gram.dtype)))
    return torch.stack(norms).mean()


def weighed_orthogonality(model: torch.nn.Module) -> Tensor:
    """The term of the loss."""
    return ORTHOGONALITY_WEIGHT * orthogonality(model)


def move_budget(model: Any, step: int) -> None:  # noqa: ANN401
    """Tell the rank allocator of an optimizer step, which PEFT leaves to callers."""
    model.base_model.update_and_allocate(step)


def allocator_state(model: Any) -> dict[str, Tensor]:  # noqa: ANN401
    """The rank allocator's moving averages, which PEFT does not save, and which ranks are kept: "kind/layer" by name."""
    allocator = model.base_model.rankallocator
    state = {f"{kind}/{name}": value.clone() for kind in _AVERAGES for name, value in getattr(allocator, kind).items()}
    kept = model.peft_config["default"].rank_pattern or {}
    return state | {f"{_PATTERN}/{name}": torch.tensor(flags, dtype=torch.bool) for name, flags in kept.items()}


def restore_allocator(model: Any, state: Mapping[str, Tensor]) -> None:  # noqa: ANN401
    """Put `allocator_state` back."""
    parts: dict[str, dict[str, Tensor]] = {kind: {} for kind in (*_AVERAGES, _PATTERN)}
    for key, value in state.items():
        kind, name = key.split("/", 1)
        parts[kind][name] = value.clone()
    for kind in _AVERAGES:
        setattr(model.base_model.rankallocator, kind, parts[kind])
    kept = {name: flags.tolist() for name, flags in parts[_PATTERN].items()}
    model.peft_config["default"].rank_pattern = kept or None


def state_of_0_1(checkpoint: Path) -> dict[str, Tensor] | None:
    """The allocator's state from two files of its own, as 0.1 wrote it."""
    averages, pattern = checkpoint / "rank_allocator.safetensors", checkpoint / "adapter_state.json"
    if not averages.is_file():
        return None
    kept = read_json(pattern, dict[str, dict[str, list[bool]] | None])[_PATTERN] or {}
    return load_file(averages) | {f"{_PATTERN}/{name}": torch.tensor(flags) for name, flags in kept.items()}


def prune(model: Any) -> None:  # noqa: ANN401
    """Drop the ranks that the budget took away, as PEFT does in files: a loaded model then computes the same bits."""
    pattern = model.peft_config["default"].rank_pattern
    if not pattern:
        return
    whole = dict(model.named_parameters())
    model.base_model.resize_modules_by_rank_pattern(pattern, "default")
    pruned = dict(model.named_parameters())
    for name, kept in pattern.items():  # PEFT rounded to the base's type: put the exact numbers back
        for part in ("lora_A", "lora_B", "lora_E"):
            full = f"base_model.model.{name.replace('lora_E', part)}"
            exact = whole[full].detach()
            pruned[full].data = (exact[:, kept] if part == "lora_B" else exact[kept]).contiguous()
    hold_divisor(model)


@dataclass(frozen=True)
class AdaLoraRecorded(Recorded):
    """What an AdaLoRA run adds to its configuration.

    Attributes:
        rank_pattern: For each layer, which of its initial ranks were kept.
        tinit: First step of pruning.
        tfinal: Steps at the end without pruning.
        deltaT: Steps from one pruning to the next.
        total_step: Steps of the run.
    """

    rank_pattern: dict[str, list[bool]] | None = None
    tinit: int = 0
    tfinal: int = 0
    deltaT: int = 1
    total_step: int = 1


def kept_shapes(shapes: Mapping[str, TensorFacts], config: Any) -> dict[str, TensorFacts]:  # noqa: ANN401
    """Shapes after pruning: A and E have a row, B a column, for each rank that the rank pattern keeps.

    Raises:
        SavedModelError: If the pattern names a layer that there is not, or has another number of ranks.
    """
    pattern = config.rank_pattern or {}
    kept = dict(shapes)
    for layer, flags in pattern.items():
        stem = f"base_model.model.{layer.removesuffix('.lora_E')}"
        names = {
            axis: [f"{stem}.{part}" for part in parts] for axis, parts in ((0, ("lora_A", "lora_E")), (1, ("lora_B",)))
        }
        if not layer.endswith(".lora_E") or f"{stem}.lora_E" not in shapes or len(flags) != config.init_r:
            raise SavedModelError(
                f"adapter_config.json: `rank_pattern` has {len(flags)} ranks for {layer!r}, but each adapted layer starts"
                f" with {config.init_r}. The file is damaged or changed: copy the model again."
            )
        for axis, parts in names.items():
            for name in parts:
                sizes = list(shapes[name].shape)
                sizes[axis] = sum(flags)
                kept[name] = replace(shapes[name], shape=tuple(sizes))
    return kept


ADALORA = PeftMethod(
    "adalora",
    "adapter",
    adalora_config,
    after_injection=hold_divisor,
    extra_loss=weighed_orthogonality,
    after_step=move_budget,
    state=allocator_state,
    restore=restore_allocator,
    state_of_0_1=state_of_0_1,
    after_training=prune,
    recorded=AdaLoraRecorded,
    saved_shapes=kept_shapes,
)

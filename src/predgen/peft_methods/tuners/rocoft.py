"""RoCoFT: some rows or some columns of W train."""

import zlib
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from peft.tuners._buffer_dict import BufferDict
from torch import Tensor, nn
from torch.nn import functional

from predgen.errors import ConfigError
from predgen.peft_methods.tuners.base import AdditiveLayer, TunerConfig, TunerModel
from predgen.peft_methods.tuners.peft_types import register_tuner

AXES = ("column", "row")
SELECTIONS = ("first", "random", "indices")


@dataclass
class RocoftConfig(TunerConfig):
    """Configuration of RoCoFT: W[rows] += D with D r x i, or W[:, columns] += D with D o x r; D starts at 0.

    Defaults are those of the paper's LLaMA runs. Differs: the paper's code trains the chosen values themselves; the
    same steps on D give the same function while there is no weight decay, D stays in float32 over a bfloat16 base, and
    W may be quantised. Other defaults of that code (output embedding adapted, norms trained) are left to
    `target_modules` and `modules_to_save`.

    Attributes:
        r: Number of rows or columns.
        axis: "column" or "row".
        selection: Which ones: the "first" r, a "random" choice per layer, or those of `indices`.
        indices: Rows or columns of every layer, for selection "indices".
        seed: Seed of the random choice, which depends on it and on the layer's name alone.

    Source: Kowsher et al. (2024), "RoCoFT: Efficient Finetuning of Large Language Models with Row-Column Updates",
        arXiv:2410.10075.
    """

    method: ClassVar[str] = "rocoft"

    r: int = field(default=3)
    axis: str = field(default="column")
    selection: str = field(default="first")
    indices: list[int] | None = field(default=None)
    seed: int = field(default=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed in (("axis", AXES), ("selection", SELECTIONS)):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"`{name}` is {getattr(self, name)!r}; allowed: {', '.join(allowed)}.")
        if self.r < 1:
            raise ConfigError(f"`r` is {self.r}, but at least one {self.axis} has to train.")
        if (self.selection == "indices") != (self.indices is not None):
            raise ConfigError("`indices` and selection 'indices' go together: give both, or neither.")
        if self.indices is not None and not len(set(self.indices)) == len(self.indices) == self.r:
            raise ConfigError(f"`indices` are {self.indices}, but must be `r` = {self.r} different numbers.")


def chosen_indices(config: RocoftConfig, size: int, key: str) -> Int[Tensor, " r"]:
    """Rows or columns of a layer that train, ascending unless they were given.

    Args:
        config: Says how many and which.
        size: How many rows or columns the layer has.
        key: The layer's name.

    Raises:
        ConfigError: If the layer has fewer.
    """
    if config.r > size or max(config.indices or [0]) >= size or min(config.indices or [0]) < 0:
        wanted = f"`indices` {config.indices}" if config.indices else f"`rank` {config.r}"
        raise ConfigError(f"rocoft: {wanted} does not fit layer {key!r}, which has {size} {config.axis}s. Choose less.")
    if config.indices is not None:
        return torch.tensor(config.indices)
    if config.selection == "first":
        return torch.arange(config.r)
    generator = torch.Generator(device="cpu").manual_seed(config.seed ^ zlib.crc32(key.encode()))
    return torch.randperm(size, generator=generator, device="cpu")[: config.r].sort().values


class RocoftLinear(AdditiveLayer):
    """A linear layer some of whose rows or columns train."""

    adapter_layer_names = ("rocoft_delta",)
    other_param_names = ("settings", "rocoft_indices")
    rocoft_delta: nn.ParameterDict
    rocoft_indices: BufferDict

    def make_stores(self) -> None:
        super().make_stores()
        self.rocoft_indices = BufferDict({}, persistent=True)  # integers, saved with the weights

    def make_weights(self, adapter: str, config: RocoftConfig, key: str) -> None:
        is_row = config.axis == "row"
        indices = chosen_indices(config, self.out_features if is_row else self.in_features, key)
        shape = (config.r, self.in_features) if is_row else (self.out_features, config.r)
        self.rocoft_delta[adapter] = nn.Parameter(torch.zeros(shape))
        self.rocoft_indices[adapter] = indices

    def corrected(self, result: Float[Tensor, "... o"], x: Float[Tensor, "... i"], adapter: str) -> Tensor:
        delta, indices = self.rocoft_delta[adapter], self.rocoft_indices[adapter]
        if self.settings[adapter].axis == "row":
            update = functional.linear(self._cast_input_dtype(x, delta.dtype), delta)
            return result.index_add(-1, indices, update.to(result.dtype))
        chosen = x.index_select(-1, indices)
        return result + functional.linear(self._cast_input_dtype(chosen, delta.dtype), delta)

    def delta(self, adapter: str) -> Float[Tensor, "o i"]:
        delta = self.rocoft_delta[adapter]
        zeros = torch.zeros(self.out_features, self.in_features, dtype=delta.dtype, device=delta.device)
        return zeros.index_add(0 if self.settings[adapter].axis == "row" else 1, self.rocoft_indices[adapter], delta)


class RocoftModel(TunerModel):
    """A model with RoCoFT layers."""

    prefix: str = "rocoft_"
    tuner_layer_cls = RocoftLinear


register_tuner("rocoft", RocoftConfig, RocoftModel)

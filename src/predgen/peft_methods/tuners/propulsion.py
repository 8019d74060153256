"""Propulsion: each output of a layer gets a trained factor."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from predgen.errors import ConfigError
from predgen.peft_methods.tuners.base import TunerConfig, TunerLayer, TunerModel
from predgen.peft_methods.tuners.peft_types import register_tuner


@dataclass
class PropulsionConfig(TunerConfig):
    """Configuration of Propulsion: y = z^k * (W x + b), z of o numbers that start at 1.

    Near z = 1 the degree multiplies the learning rate: d z^k / dz = k. At k = 1 this is IA3 on the outputs. The default
    degree is that of the authors' layer class. Differs: their code adapts embeddings, too.

    Attributes:
        degree: The power k.

    Source: Kowsher et al. (2024), "Propulsion: Steering LLM with Tiny Fine-Tuning", arXiv:2409.10927.
    """

    method: ClassVar[str] = "propulsion"

    degree: int = field(default=15)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.degree < 1:
            raise ConfigError(f"`degree` is {self.degree}, but must be at least 1: at 0 nothing would train.")


class PropulsionLinear(TunerLayer):
    """A linear layer whose outputs are scaled."""

    adapter_layer_names = ("propulsion_z",)
    propulsion_z: nn.ParameterDict

    def make_weights(self, adapter: str, config: PropulsionConfig, key: str) -> None:
        self.propulsion_z[adapter] = nn.Parameter(torch.ones(self.out_features))

    def corrected(self, result: Float[Tensor, "... o"], x: Float[Tensor, "... i"], adapter: str) -> Tensor:
        return result * self._factor(adapter)

    def merged_weights(
        self, adapter: str, weight: Tensor, bias: Tensor | None, *, undo: bool
    ) -> tuple[Tensor, Tensor | None]:
        factor = self._factor(adapter).detach()
        if undo:
            if not bool((factor != 0).all()):
                raise ValueError(
                    f"propulsion adapter {adapter!r} cannot be unmerged: a factor z^k is 0, so the weights that it"
                    " multiplied are lost. Load the base model again."
                )
            factor = 1 / factor
        rows = factor if self.is_transposed else factor[:, None]
        return weight * rows, None if bias is None else bias * factor

    def _factor(self, adapter: str) -> Float[Tensor, " o"]:
        """z^k."""
        return torch.pow(self.propulsion_z[adapter], self.settings[adapter].degree)


class PropulsionModel(TunerModel):
    """A model with Propulsion layers."""

    prefix: str = "propulsion_"
    tuner_layer_cls = PropulsionLinear


register_tuner("propulsion", PropulsionConfig, PropulsionModel)

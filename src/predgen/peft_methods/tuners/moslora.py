"""MoSLoRA: LoRA with a trained mixer between its two factors."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from predgen.peft_methods.tuners.base import AdditiveLayer, LowRankConfig, TunerModel
from predgen.peft_methods.tuners.peft_types import register_tuner


@dataclass
class MosloraConfig(LowRankConfig):
    """Configuration of MoSLoRA: W + (alpha / r) B M A, with A r x i, M r x r and B o x r.

    A and M start uniform as LoRA's A, B at 0; with M at 0, too, no factor would get a gradient. Defaults are those of
    the paper's LLaMA runs. Differs: no dropout (the paper's runs 0.05).

    Attributes:
        r: Rank.
        alpha: The update is scaled by alpha / r.

    Source: Wu et al. (2024), "Mixture-of-Subspaces in Low-Rank Adaptation", arXiv:2406.11909.
    """

    method: ClassVar[str] = "moslora"

    r: int = field(default=16)
    alpha: float = field(default=32.0)


class MosloraLinear(AdditiveLayer):
    """A linear layer with a mixed low-rank update."""

    adapter_layer_names = ("moslora_A", "moslora_M", "moslora_B")
    moslora_A: nn.ParameterDict
    moslora_M: nn.ParameterDict
    moslora_B: nn.ParameterDict

    def make_weights(self, adapter: str, config: MosloraConfig, key: str) -> None:
        def uniform(*shape: int) -> nn.Parameter:
            weight = torch.empty(shape)
            return nn.Parameter(nn.init.kaiming_uniform_(weight, a=5**0.5))

        self.moslora_A[adapter] = uniform(config.r, self.in_features)
        self.moslora_M[adapter] = uniform(config.r, config.r)
        self.moslora_B[adapter] = nn.Parameter(torch.zeros(self.out_features, config.r))

    def corrected(self, result: Float[Tensor, "... o"], x: Float[Tensor, "... i"], adapter: str) -> Tensor:
        a, m, b = self.weights(adapter)
        inner = functional.linear(functional.linear(self._cast_input_dtype(x, a.dtype), a), m)
        update: Tensor = self.settings[adapter].scale * functional.linear(inner, b)
        return result + update

    def delta(self, adapter: str) -> Float[Tensor, "o i"]:
        a, m, b = self.weights(adapter)
        delta: Tensor = self.settings[adapter].scale * (b @ m @ a)
        return delta


class MosloraModel(TunerModel):
    """A model with MoSLoRA layers."""

    prefix: str = "moslora_"
    tuner_layer_cls = MosloraLinear


register_tuner("moslora", MosloraConfig, MosloraModel)

"""MELoRA: several small LoRAs, each on its own share of a layer's inputs and outputs."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from predgen.errors import ConfigError
from predgen.peft_methods.tuners.base import AdditiveLayer, LowRankConfig, TunerModel
from predgen.peft_methods.tuners.peft_types import register_tuner


@dataclass
class MeloraConfig(LowRankConfig):
    """Configuration of MELoRA: W + (alpha / r) blockdiag(B_1 A_1, ..., B_n A_n).

    A_j is r x i/n, uniform as in LoRA; B_j is o/n x r and starts at 0. The update has rank n r with the r (i + o)
    numbers of one LoRA of rank r. Defaults are those of the paper's LLaMA runs. Differs: no dropout (the paper's runs
    0.05); n has to divide both widths, where the paper's code leaves the rest of the features out; merging works.

    Attributes:
        r: Rank of each small LoRA.
        n: Number of small LoRAs.
        alpha: The update is scaled by alpha / r.

    Source: Ren et al. (2024), "MELoRA: Mini-Ensemble Low-Rank Adapters for Parameter-Efficient Fine-Tuning",
        arXiv:2402.17263.
    """

    method: ClassVar[str] = "melora"

    r: int = field(default=1)
    n: int = field(default=8)
    alpha: float = field(default=16.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n < 1:
            raise ConfigError(f"`n` is {self.n}, but must be at least 1.")


class MeloraLinear(AdditiveLayer):
    """A linear layer with n small LoRAs."""

    adapter_layer_names = ("melora_A", "melora_B")
    melora_A: nn.ParameterDict
    melora_B: nn.ParameterDict

    def make_weights(self, adapter: str, config: MeloraConfig, key: str) -> None:
        n, inputs, outputs = config.n, self.in_features, self.out_features
        if inputs % n or outputs % n:
            shared = math.gcd(inputs, outputs)
            raise ConfigError(
                f"`melora_blocks` is {n}, which does not divide both widths of layer {key!r} ({inputs} inputs, {outputs}"
                f" outputs). Choose a divisor of {shared}."
            )
        bound = (inputs // n) ** -0.5  # Kaiming-uniform with a = sqrt(5), fan-in i/n
        self.melora_A[adapter] = nn.Parameter(torch.empty(n, config.r, inputs // n).uniform_(-bound, bound))
        self.melora_B[adapter] = nn.Parameter(torch.zeros(n, outputs // n, config.r))

    def corrected(self, result: Float[Tensor, "... o"], x: Float[Tensor, "... i"], adapter: str) -> Tensor:
        a, b = self.weights(adapter)
        shares = self._cast_input_dtype(x, a.dtype).reshape(*x.shape[:-1], len(a), -1)  # (..., n, i/n)
        inner = torch.einsum("...ni,nri->...nr", shares, a)
        update: Tensor = self.settings[adapter].scale * torch.einsum("...nr,nor->...no", inner, b).flatten(
            -2
        )  # (..., o)
        return result + update

    def delta(self, adapter: str) -> Float[Tensor, "o i"]:
        a, b = self.weights(adapter)
        delta: Tensor = torch.block_diag(*(self.settings[adapter].scale * (b @ a)))  # type: ignore[no-untyped-call]
        return delta


class MeloraModel(TunerModel):
    """A model with MELoRA layers."""

    prefix: str = "melora_"
    tuner_layer_cls = MeloraLinear


register_tuner("melora", MeloraConfig, MeloraModel)

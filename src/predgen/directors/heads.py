"""Linear heads over a language model's states, which are read as they are or standardised by the training rows' figures.

Raw states are badly scaled: after the final norm a handful of dimensions may hold half of the energy. A head on them gets
gradients so large that clipping takes the learning from everything else.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

_FLOOR = 0.01  # share of the mean variance that is added to every dimension's: quiet ones are not blown up
_ROUNDING = 1e-8  # likewise of the mean square: features that are all alike differ by rounding alone
_NORM = 8.0  # of standardised features, about


class FeatureNorm(nn.Module):
    """(z - mean) / sqrt(var + 0.01 mean(var)) * 8 / sqrt(H), with mean and var of training rows, never of the batch.

    They are estimated once, before the first step (`estimating`), and saved with the head. Until then nothing is changed.
    """

    mean: Float[Tensor, " H"]
    factor: Float[Tensor, " H"]

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("factor", torch.ones(width))
        self._seen: _Moments | None = None

    def forward(self, features: Float[Tensor, "B H"]) -> Float[Tensor, "B H"]:
        if self._seen is not None:
            self._seen.add(features.detach())
        return (features - self.mean) * self.factor

    def begin(self) -> None:
        """Take in what is seen from now on."""
        self._seen = _Moments()

    def end(self) -> None:
        """Fix mean and factor by what was seen; without any, leave them."""
        seen, self._seen = self._seen, None
        if seen is None or not seen.count:
            return
        mean = seen.total / seen.count
        square = seen.squares / seen.count
        variance = (square - mean**2).clamp(min=0)
        spread = variance + _FLOOR * variance.mean() + _ROUNDING * square.mean()
        factor = _NORM / len(mean) ** 0.5 / spread.clamp(min=torch.finfo(torch.float32).tiny).sqrt()
        self.mean.copy_(mean)
        self.factor.copy_(factor)


class _Moments:
    """Sums over all features seen, in float64: what they are split into makes no difference but rounding."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Tensor = torch.zeros(())
        self.squares: Tensor = torch.zeros(())

    def add(self, features: Float[Tensor, "B H"]) -> None:
        exact = features.double()
        self.count += len(exact)
        self.total = self.total.to(exact) + exact.sum(dim=0)
        self.squares = self.squares.to(exact) + exact.square().sum(dim=0)


class Head(nn.Linear):
    """W norm(z) + b in float32. On standardised features it starts at zero, so that it says nothing before it has learned.

    Args:
        width: Features H.
        outputs: Outputs K.
        norm: "standard": features are standardised (`FeatureNorm`); "none": they are read as they are.
        bias: Whether there is a b.
        starts_at_zero: Start at zero whatever the norm.
    """

    def __init__(self, width: int, outputs: int, norm: str, *, bias: bool = True, starts_at_zero: bool = False) -> None:
        super().__init__(width, outputs, bias)
        self.norm = FeatureNorm(width) if norm == "standard" else None
        if norm == "standard" or starts_at_zero:
            for weight in self.parameters():
                nn.init.zeros_(weight)

    def forward(self, features: Float[Tensor, "B H"]) -> Float[Tensor, "B K"]:
        return super().forward(features if self.norm is None else self.norm(features))


def feature_norms(model: nn.Module) -> dict[str, FeatureNorm]:
    """Return the norms of a model's heads, by their names in it."""
    return {name: part for name, part in model.named_modules() if isinstance(part, FeatureNorm)}


@contextmanager
def estimating(model: nn.Module) -> Iterator[None]:
    """Estimate the norms of a model's heads by what they read inside the context."""
    norms = feature_norms(model).values()
    for norm in norms:
        norm.begin()
    try:
        yield
    finally:
        for norm in norms:
            norm.end()

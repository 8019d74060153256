"""The plain sum of both losses."""

from jaxtyping import Float
from torch import Tensor

from predgen.losses.base import JointLoss


class SumLoss(JointLoss):
    """L = L_W + L_D. Adds different units for numbers (nats per token, squared standard deviations): a baseline.

    Example:
        >>> import torch
        >>> SumLoss()(torch.tensor([0.5]), torch.tensor([2.0]))
        tensor([2.5000])
    """

    def join(self, writer: Float[Tensor, " B"], director: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        return writer + director

"""Learned weights for both losses."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from predgen.losses.base import JointLoss


class AdaptiveLoss(JointLoss):
    """L = e^-a L_W + a + e^-b L_D + b, with a and b learned (log variances, both starting at 0).

    The paper names an "Adaptive Loss" in its Figure 6 without defining it; this is the usual one. It may be negative.

    Source: Kendall, Gal, Cipolla (2018), "Multi-Task Learning Using Uncertainty to Weigh Losses", section 3,
    arXiv:1705.07115. Differs: the factor 1/2 of the regression term is absorbed into its log variance.

    Example:
        >>> import torch
        >>> AdaptiveLoss()(torch.tensor([0.5]), torch.tensor([2.0])).detach()
        tensor([2.5000])
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_variances = nn.Parameter(torch.zeros(2))

    def join(self, writer: Float[Tensor, " B"], director: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        precision = torch.exp(-self.log_variances)
        return precision[0] * writer + precision[1] * director + self.log_variances.sum()

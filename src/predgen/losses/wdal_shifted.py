"""Writer-director alignment loss, as the paper's authors compute it."""

import torch
from jaxtyping import Float
from torch import Tensor

from predgen.losses.base import JointLoss


class WdalShifted(JointLoss):
    """L = log(1+L_W) + log(1+L_D) + (1+max)^2 * exp(-|log(1+L_W) - log(1+L_D)|) = log u + u, u = (1+L_W)(1+L_D).

    The shift by one keeps the gradient of each loss alive where the other is 0: dL/dL_W = 1/(1+L_W) + 1 + L_D.
    Its minimum, at L_W = L_D = 0, is 1.

    Source: the code published with arXiv:2502.17817 (its closed form is ours).

    Example:
        >>> import torch
        >>> WdalShifted()(torch.tensor([0.0]), torch.tensor([0.0]))
        tensor([1.])
    """

    def join(self, writer: Float[Tensor, " B"], director: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        return torch.log1p(writer) + torch.log1p(director) + (1 + writer) * (1 + director)

"""Writer-director alignment loss, as the paper states it."""

from jaxtyping import Float
from torch import Tensor

from predgen.losses.base import JointLoss


class Wdal(JointLoss):
    """L = max(L_W^2, L_D^2) * exp(-|log L_W - log L_D|) = L_W * L_D.

    exp(-|log a - log b|) = min(a, b) / max(a, b), hence the identity, which the paper's appendix A.4 states as well; the
    loss is computed as the product, without logarithms and clamps. Its gradient is (L_D, L_W): once one loss is 0, the
    other gets no gradient any more. `multiplicative` is an alias: as the paper defines them, the two are one function.

    Source: Kowsher et al. (2025), "Predicting Through Generation", section 4 and appendix A, arXiv:2502.17817.

    Example:
        >>> import torch
        >>> Wdal()(torch.tensor([0.5]), torch.tensor([2.0]))
        tensor([1.])
    """

    def join(self, writer: Float[Tensor, " B"], director: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        return writer * director

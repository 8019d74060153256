"""The director's loss alone."""

from jaxtyping import Float
from torch import Tensor

from predgen.losses.base import JointLoss


class DirectorOnly(JointLoss):
    """L = L_D: the writer learns only through the states that the director reads.

    Example:
        >>> import torch
        >>> DirectorOnly()(torch.tensor([0.5]), torch.tensor([2.0]))
        tensor([2.])
    """

    def join(self, writer: Float[Tensor, " B"], director: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        return director

"""Director `ordered`: cross-entropy in which earlier digits weigh more."""

from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from predgen.directors.base import Director, DirectorInput, DirectorSetup
from predgen.directors.settings import OrderedSettings
from predgen.losses.token_nll import weighted_mean


class OrderedDirector(Director):
    """Position-weighted token cross-entropy, in nats: 0.76 for 0.75 costs less than 1.75. It has no head.

    Over the m' content tokens that are not forced by the trie, weights fall linearly from m' to `ordered_last_weight`
    and are normalised to mean 1; forced tokens and the stop weigh 0.

    Source: Kowsher et al. (2025), appendix D.2, arXiv:2502.17817.
    """

    has_head: ClassVar[bool] = False
    kinds: ClassVar[tuple[str, ...]] = ("regression", "math")

    def __init__(self, setup: DirectorSetup, settings: OrderedSettings) -> None:
        super().__init__(setup)
        self.last_weight = settings.ordered_last_weight

    def loss(self, seen: DirectorInput) -> Float[Tensor, " B"]:
        weights = position_weights(seen.weighed, self.last_weight)
        return weighted_mean(seen.nll, weights * seen.scored)


def position_weights(weighed: Bool[Tensor, "B T"], last_weight: float) -> Float[Tensor, "B T"]:
    """Weights that fall linearly from m' to `last_weight` over each row's weighed positions, with mean 1 over them.

    Example:
        >>> position_weights(torch.tensor([[False, True, False, True, True, False]]), last_weight=2.0)
        tensor([[0.0000, 1.2000, 0.0000, 1.0000, 0.8000, 0.0000]])
    """
    count = weighed.sum(dim=1, keepdim=True).float()  # m', B 1
    rank = weighed.cumsum(dim=1).float() - 1  # 0, 1, ... at weighed positions
    falling = count - (count - last_weight) * rank / (count - 1).clamp(min=1)
    raw = torch.where(weighed, falling, 0.0)
    return raw * count / raw.sum(dim=1, keepdim=True).clamp(min=torch.finfo(raw.dtype).tiny)

"""Loss `weighted_sum`: a share of the director's loss, the rest of the writer's."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from predgen.losses.base import JointLoss
from predgen.registries import losses
from predgen.settings import Settings, setting


@dataclass(frozen=True)
class WeightedSumSettings(Settings):
    """Settings of loss `weighted_sum`."""

    director_share: float = setting(0.5, "Loss 'weighted_sum': share of the director's loss.", low=0.0, high=1.0)


class WeightedSum(JointLoss):
    """L = (1 - s) L_W + s L_D."""

    def __init__(self, settings: WeightedSumSettings) -> None:
        super().__init__()
        self.share = settings.director_share

    def join(self, writer: Float[Tensor, " B"], director: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Define the loss."""
        return (1 - self.share) * writer + self.share * director


losses.register("weighted_sum", f"{__name__}:WeightedSum", "(1 - s) L_W + s L_D", settings=WeightedSumSettings)

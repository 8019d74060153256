"""What a joint loss is."""

from jaxtyping import Float
from torch import Tensor, nn


class JointLoss(nn.Module):
    """Joins writer and director loss, elementwise: one value per example (or per batch, see `reduction`).

    Subclasses define `join`. A loss with parameters declares them; they train with the model.
    """

    def forward(self, writer: Float[Tensor, " B"], director: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Return the joint loss of each example.

        Args:
            writer: L_W >= 0, in nats per token.
            director: L_D >= 0, in nats (classes, `ordered`) or squared standard deviations (numbers).
        """
        return self.join(writer, director)

    def join(self, writer: Float[Tensor, " B"], director: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Define the loss; see `forward`."""
        raise NotImplementedError(f"{type(self).__name__} must define join(writer, director)")

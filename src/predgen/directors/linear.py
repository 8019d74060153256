"""Director `linear`: class logits from the mean content state."""

from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from predgen.directors.base import Director, DirectorInput, DirectorSetup, mean_state


class LinearDirector(Director):
    """Linear(H, K) on the mean of the content states; L_D is the cross-entropy, in nats.

    Source: Kowsher et al. (2025), appendix D.1, arXiv:2502.17817. Differs: the authors' code reads vocabulary logits.
    """

    kinds: ClassVar[tuple[str, ...]] = ("classification",)

    def __init__(self, setup: DirectorSetup) -> None:
        super().__init__(setup)
        self.head = setup.head(setup.n_classes)

    def loss(self, seen: DirectorInput) -> Float[Tensor, " B"]:
        return functional.cross_entropy(self.output(seen.states, seen.content), seen.target.long(), reduction="none")

    def output(self, states: Float[Tensor, "B T H"], content: Bool[Tensor, "B T"]) -> Float[Tensor, "B K"]:
        logits: Tensor = self.head(mean_state(states, content))
        return logits

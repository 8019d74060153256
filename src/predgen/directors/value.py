"""Director `value`: a number from the mean content state."""

from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from predgen.directors.base import Director, DirectorInput, DirectorSetup, mean_state


class ValueDirector(Director):
    """Linear(H, 1) on the mean of the content states; L_D is the squared error of the standardised target.

    The target is standardised with the training rows' mean and standard deviation, so L_D = 1 is what predicting the
    mean would cost. The paper reads numbers with director `ordered`.
    """

    kinds: ClassVar[tuple[str, ...]] = ("regression", "math")

    def __init__(self, setup: DirectorSetup) -> None:
        super().__init__(setup)
        self.head = setup.head(1)

    def loss(self, seen: DirectorInput) -> Float[Tensor, " B"]:
        return (self.output(seen.states, seen.content).squeeze(-1) - seen.target).square()

    def output(self, states: Float[Tensor, "B T H"], content: Bool[Tensor, "B T"]) -> Float[Tensor, "B 1"]:
        numbers: Tensor = self.head(mean_state(states, content))
        return numbers

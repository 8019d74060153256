"""Director `nll`: the log score of the answer itself, over legal answers."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from predgen.directors.base import Director, DirectorInput, DirectorSetup


class NllDirector(Director):
    """-log P(a*|X), a* the gold answer as it is written, in nats. P is exact, over legal answers. No head.

    It is what L_W becomes, summed over an answer's tokens, when illegal continuations are left out: with loss
    `director_only` the writer learns nothing but which of the legal answers is right. The prediction of numbers is the mean;
    of classes, the most probable one.

    Source: the logarithmic score, Good (1952); Gneiting and Raftery (2007), section 4.
    """

    has_head: ClassVar[bool] = False
    reads_distribution: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = ("classification", "regression")

    def __init__(self, setup: DirectorSetup) -> None:
        super().__init__(setup)
        self.decoding = "argmax" if setup.n_classes else "mean"

    def loss(self, seen: DirectorInput) -> Float[Tensor, " B"]:
        assert seen.log_probs is not None, "the model passes them to directors that read them"
        assert seen.answer is not None, "it comes with `log_probs`"
        return -seen.log_probs.gather(1, seen.answer[:, None])[:, 0]

"""Director `expected`: the mean of the writer's own distribution."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from predgen.directors.base import Director, DirectorInput


class ExpectedDirector(Director):
    """(E[y|X] - y)^2 with E[y|X] = sum_a P(a|X) a, in squared standard deviations of the training targets. No head.

    P(a|X) is exact: the whole grid is run in one tree pass, with gradient. The prediction is the mean. With a
    `target_transform`, a and y stand for the transformed numbers in the loss; the prediction is the mean of the raw ones.

    Source: RAFT, Lukasik et al. (2025), "Better autoregressive regression with LLMs via regression-aware fine-tuning",
    ICLR 2025; its inference is RAIL, Lukasik et al. (2024), arXiv:2403.04182. Differs: the grid is the codec's, and P is
    taken over legal tokens.
    """

    has_head: ClassVar[bool] = False
    decoding: str = "mean"
    reads_distribution: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = ("regression",)

    def loss(self, seen: DirectorInput) -> Float[Tensor, " B"]:
        assert seen.log_probs is not None, "the model passes them to directors that read them"
        assert seen.values is not None, "they come with `log_probs`"
        return (seen.log_probs.exp() @ seen.values - seen.target).square()

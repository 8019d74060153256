"""Director `crps`: the exact continuous ranked probability score of the writer's distribution."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from predgen.directors.base import Director, DirectorInput, DirectorSetup


class CrpsDirector(Director):
    """integral (F(x) - 1[y <= x])^2 dx, F the distribution function of P(a|X): exact, with gradient. No head.

    Between neighbours of the grid F is constant, so that the integral is a sum over its cells; y stands for itself, not for
    its rounding: the cell in which it falls is split there. Numbers: in standard deviations of the training targets. It is
    the absolute error where all mass is on one number, and it is proper: no other distribution than the true one has a
    smaller mean. Classes: ordinal ones, which count as levels 0, 1, ... in their order; then it is the ranked probability
    score, in levels. The prediction is the mean; of classes, the most probable one.

    Source: Matheson and Winkler (1976); Gneiting and Raftery (2007), "Strictly Proper Scoring Rules, Prediction, and
    Estimation", section 4.2; Epstein (1969) for levels. As a loss over all of a codec's numbers it contains the place value
    of digits, which NTL (Zausinger et al. 2025, arXiv:2411.02083) approximates digit by digit.
    """

    has_head: ClassVar[bool] = False
    reads_distribution: ClassVar[bool] = True
    is_ordered: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = ("classification", "regression")

    def __init__(self, setup: DirectorSetup) -> None:
        super().__init__(setup)
        self.decoding = "argmax" if setup.n_classes else "mean"

    def loss(self, seen: DirectorInput) -> Float[Tensor, " B"]:
        assert seen.log_probs is not None, "the model passes them to directors that read them"
        values = seen.values
        if values is None:
            values = torch.arange(seen.log_probs.shape[1], dtype=seen.log_probs.dtype, device=seen.log_probs.device)
        return crps(seen.log_probs.exp(), values, seen.target)


def crps(
    probabilities: Float[Tensor, "B A"], values: Float[Tensor, " A"], target: Float[Tensor, " B"]
) -> Float[Tensor, " B"]:
    """Continuous ranked probability score of distributions over `values`, in their unit.

    Args:
        probabilities: They sum to 1 over the values.
        values: Numbers in any order.
        target: What came; anywhere.

    Example:
        >>> crps(torch.tensor([[0.5, 0.5]]), torch.tensor([0.0, 1.0]), torch.tensor([0.0]))
        tensor([0.2500])
    """
    points, order = values.sort()
    at_most = probabilities[:, order].cumsum(dim=1)[:, :-1]  # F in the cell behind each point, B A-1
    width = points.diff()
    before = (target[:, None] - points[:-1]).clamp(min=0).minimum(width)  # of each cell, the part below the target
    inside = before * at_most.square() + (width - before) * (1 - at_most).square()
    beyond = (points[0] - target).clamp(min=0) + (target - points[-1]).clamp(min=0)  # F is 0 or 1 there
    return inside.sum(dim=1) + beyond

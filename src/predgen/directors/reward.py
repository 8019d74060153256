"""Director `reward`: the expected cost of what the writer says."""

import math
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from predgen.directors.base import Director, DirectorInput, DirectorSetup
from predgen.directors.settings import RewardSettings
from predgen.errors import ConfigError


class RewardDirector(Director):
    """sum_a P(a|X) C[a, y], C[a, y] >= 0 the cost of answering a where y is right, in its unit. No head.

    A reward matrix R is the cost C = max R - R: the same loss up to a constant, and never below 0, which products of losses
    need. By default C is 0 for the right label and 1 for others: the loss is 1 - P(y|X), the expected error rate. P(a|X) is
    exact, so nothing is sampled and no gradient is estimated. What it trains is a *policy*: P(a|X) goes to the cheapest
    answer, and is no longer how probable a label is; `crps` and `nll` are proper.

    Source: minimum risk training, Shen et al. (2016), arXiv:1512.02433, section 3, there over sampled answers; GenRe2
    (arXiv:2512.06533) rewards numbers in the same way, by reinforcement learning.
    """

    has_head: ClassVar[bool] = False
    decoding: str = "argmax"
    reads_distribution: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = ("classification",)

    costs: Float[Tensor, "K K"]

    def __init__(self, setup: DirectorSetup, settings: RewardSettings) -> None:
        super().__init__(setup)
        rows = costs_of(settings.reward_costs, setup.n_classes)
        self.register_buffer("costs", torch.tensor(rows), persistent=False)

    def loss(self, seen: DirectorInput) -> Float[Tensor, " B"]:
        assert seen.log_probs is not None, "the model passes them to directors that read them"
        return (seen.log_probs.exp() * self.costs[:, seen.target.long()].T).sum(dim=1)


def costs_of(text: str | None, n_classes: int) -> list[list[float]]:
    """Read a matrix of costs, rows divided by semicolons; None: 0 for the right label, 1 for others.

    Raises:
        ConfigError: If it is no matrix of K x K numbers of 0 or more.

    Example:
        >>> costs_of("0 1; 5 0", 2), costs_of(None, 2)
        ([[0.0, 1.0], [5.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]])
    """
    if text is None:
        return [[float(a != y) for y in range(n_classes)] for a in range(n_classes)]
    try:
        rows = [[float(cell) for cell in row.replace(",", " ").split()] for row in text.split(";")]
    except ValueError:
        rows = []
    is_square = len(rows) == n_classes and all(len(row) == n_classes for row in rows)
    if not is_square or not all(math.isfinite(cost) and cost >= 0 for row in rows for cost in row):
        raise ConfigError(
            f"`reward_costs` is {text!r}, but must have {n_classes} rows, divided by semicolons, of {n_classes} numbers of 0 or"
            " more: a row an answer, a column a label that is right, in class order. Write such as '0 1; 5 0'."
        )
    return rows

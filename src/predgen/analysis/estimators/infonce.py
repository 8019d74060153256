"""InfoNCE: picking the right y among those of a batch."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from predgen.analysis.estimators.base import Estimate, Estimator, Pairs, combined
from predgen.analysis.estimators.critics import FOLDS, WIDTH, Critics, StackedLinear, cross_fitted_terms
from predgen.analysis.estimators.settings import RepeatedSettings

JUDGED_ROWS = 512  # batches of the reported bound; training on half of that takes half the time for the same bound


@dataclass(frozen=True, slots=True)
class InfoNce(Estimator):
    """I >= log B + E[log (e^f(z_i, y_i) / sum_j e^f(z_i, y_j))], j over the B rows of a batch.

    f(z, y) = u(z) . v(y) / 8, with u and v two-layer networks: one hidden layer of 64 units, 64 outputs. Trained,
    stopped early, cross-fitted and repeated as MINE; the bound is that of the held-out rows, in batches of at most 512.

    A lower bound in expectation, with less variance than MINE's, but **it cannot exceed log B**, and lies ever further
    below the truth as that comes near; `details` hold the cap.

    Attributes:
        settings: Its settings.

    Source: van den Oord, Li, Vinyals (2018), "Representation learning with contrastive predictive coding", section 2.3
    and appendix A.1, arXiv:1807.03748. Differs: networks on both sides of the product, for y is no encoder's output.

    Example:
        >>> z, noise = np.random.default_rng(0).normal(size=(2, 100, 1))
        >>> InfoNce(RepeatedSettings(repeats=1)).estimate(z, z + noise).nats > 0.1
        True
    """

    name: ClassVar[str] = "infonce"
    min_rows: ClassVar[int] = 50
    settings: RepeatedSettings = field(default_factory=RepeatedSettings)

    def _measure(self, pairs: Pairs, seed: int) -> Estimate:
        sizes = pairs.z.shape[1], pairs.y_columns.shape[1]
        seeds = np.random.SeedSequence(seed).generate_state(self.settings.repeats)
        terms = [cross_fitted_terms(pairs, lambda f, g: InfoNceCritics(f, *sizes, g), int(s)) for s in seeds]
        cap = math.log(max(batch_sizes(-(-len(pairs) // FOLDS))))
        return combined(np.stack(terms), self.name, {"folds": FOLDS, "kind": "lower bound", "cap_nats": cap})


class InfoNceCritics(Critics):
    """Critics f(z, y) = u(z) . v(y) / 8, one per fold.

    Args:
        folds: Number of critics.
        z_columns: Width of z.
        y_columns: Width of y.
        generator: Source of the initial weights.
    """

    batch_rows: ClassVar[int] = 256

    def __init__(self, folds: int, z_columns: int, y_columns: int, generator: torch.Generator) -> None:
        super().__init__()
        self.of_z, self.of_y = (
            nn.Sequential(
                StackedLinear(folds, columns, WIDTH, generator),
                nn.SiLU(),
                StackedLinear(folds, WIDTH, WIDTH, generator),
            )
            for columns in (z_columns, y_columns)
        )

    def scores(self, z: Float[Tensor, "F n d"], y: Float[Tensor, "F n k"]) -> Float[Tensor, "F n n"]:
        """Return f of every z (second axis) with every y (third axis)."""
        return torch.bmm(self.of_z(z), self.of_y(y).mT) / math.sqrt(WIDTH)

    def loss(self, z: Float[Tensor, "F B d"], y: Float[Tensor, "F B k"]) -> Float[Tensor, " F"]:
        return -contrast(self.scores(z, y)).mean(dim=1)

    def bound(self, z: Float[Tensor, "F n d"], y: Float[Tensor, "F n k"]) -> Float[Tensor, " F"]:
        return torch.cat([contrast(scores) for scores in self._judged(z, y)], dim=1).mean(dim=1)

    def row_terms(self, z: Float[Tensor, "1 n d"], y: Float[Tensor, "1 n k"]) -> Float[Tensor, " n"]:
        return torch.cat([contrast_influence(scores[0].double()) for scores in self._judged(z, y)])

    def _judged(self, z: Float[Tensor, "F n d"], y: Float[Tensor, "F n k"]) -> Iterator[Float[Tensor, "F m m"]]:
        """Yield the scores of one batch after the other."""
        sizes = batch_sizes(z.shape[1])
        for z_batch, y_batch in zip(torch.split(z, sizes, dim=1), torch.split(y, sizes, dim=1), strict=True):
            yield self.scores(z_batch, y_batch)


def batch_sizes(n_rows: int) -> list[int]:
    """Sizes of as few batches of at most 512 rows as hold all rows, equal within one row."""
    return [len(part) for part in np.array_split(np.arange(n_rows), math.ceil(n_rows / JUDGED_ROWS))]


def contrast(scores: Float[Tensor, "F n n"]) -> Float[Tensor, "F n"]:
    """Log n + log-probability of the own y among all n, per row; the mean is the bound in nats.

    Args:
        scores: f of every z (second axis) with every y (third axis).

    Returns:
        One value per row, at most log n.

    Example:
        >>> contrast(torch.zeros(1, 2, 2))
        tensor([[0., 0.]])
    """
    return scores.diagonal(dim1=1, dim2=2) - torch.logsumexp(scores, dim=2) + math.log(scores.shape[1])


def contrast_influence(scores: Float[Tensor, "n n"]) -> Float[Tensor, " n"]:
    """Rows' terms, less what each y takes from the other rows' probabilities (mean 1); the mean is the bound."""
    return contrast(scores[None])[0] - torch.softmax(scores, dim=1).sum(dim=0) + 1

"""MINE: the Donsker-Varadhan bound, with a statistics network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from predgen.analysis.estimators.base import Estimate, Estimator, Pairs, combined
from predgen.analysis.estimators.critics import FOLDS, WIDTH, Critics, StackedLinear, cross_fitted_terms
from predgen.analysis.estimators.settings import RepeatedSettings

AVERAGE_RATE = 0.01  # of the moving average of E[e^T], per step
TRAIN_SHIFTS = 4  # products of marginals: every z of a batch meets the y of this many other rows
STOP_SHIFTS = 10
HELD_SHIFTS = 100  # all of them where fewer rows are held out


@dataclass(frozen=True, slots=True)
class Mine(Estimator):
    """I >= E_P(z,y)[T] - log E_P(z)P(y)[e^T], with T a two-layer network: one hidden layer of 64 units, one output.

    T is trained by the gradient with the moving-average correction, stopped early, and judged on held-out rows only:
    five folds, each row held out once, in each of `repeats` splits with their own initial weights.

    In expectation over held-out rows E[T] is exact, and log E[e^T] comes out too low by about its variance / 2, for
    the logarithm is concave: so the figure is a lower bound but for this small term. It tends to lie below the truth,
    the more so with more dimensions, fewer rows and more information, for T has to be learned.

    Attributes:
        settings: Its settings.

    Source: Belghazi et al. (2018), "MINE: mutual information neural estimation", definition 3.1 and section 3.2,
    arXiv:1801.04062. Differs: cross-fitted and held out (the authors report the bound on training rows); several
    shifted rows per row stand for the product of the marginals.

    Example:
        >>> z, noise = np.random.default_rng(0).normal(size=(2, 100, 1))
        >>> Mine(RepeatedSettings(repeats=1)).estimate(z, z + noise).nats > 0.1
        True
    """

    name: ClassVar[str] = "mine"
    min_rows: ClassVar[int] = 50
    settings: RepeatedSettings = field(default_factory=RepeatedSettings)

    def _measure(self, pairs: Pairs, seed: int) -> Estimate:
        sizes = pairs.z.shape[1], pairs.y_columns.shape[1]
        seeds = np.random.SeedSequence(seed).generate_state(self.settings.repeats)
        terms = [cross_fitted_terms(pairs, lambda f, g: MineCritics(f, *sizes, g), int(s)) for s in seeds]
        return combined(np.stack(terms), self.name, {"folds": FOLDS, "kind": "lower bound"})


class MineCritics(Critics):
    """Statistics networks T(z, y) = w silu(A z + B y + a) + b, one per fold.

    Args:
        folds: Number of networks.
        z_columns: Width of z.
        y_columns: Width of y.
        generator: Source of the initial weights and of the shifts in training.
    """

    batch_rows: ClassVar[int] = 512

    def __init__(self, folds: int, z_columns: int, y_columns: int, generator: torch.Generator) -> None:
        super().__init__()
        self.hidden = StackedLinear(folds, z_columns + y_columns, WIDTH, generator)
        self.output = StackedLinear(folds, WIDTH, 1, generator)
        self.generator = generator
        self.log_average: Float[Tensor, " F"] | None = None

    def scores(
        self, z: Float[Tensor, "F n d"], y: Float[Tensor, "F n k"], shifts: Sequence[int]
    ) -> tuple[Float[Tensor, "F n"], Float[Tensor, "F s n"]]:
        """Return T of the rows, and T of every z with the y that stands `shift` rows before it (cyclically)."""
        of_z, of_y = torch.split(self.hidden.weight, [z.shape[2], y.shape[2]], dim=1)
        z_part, y_part = torch.baddbmm(self.hidden.bias, z, of_z), torch.bmm(y, of_y)
        n_rows = z.shape[1]
        # One pass over F x (1 + s) n rows: the y parts are computed once, whatever the number of shifts.
        parts = torch.cat([z_part + torch.roll(y_part, shift, dims=1) for shift in (0, *shifts)], dim=1)
        scores = self.output(nn.functional.silu(parts)).unflatten(1, (1 + len(shifts), n_rows)).squeeze(-1)
        return scores[:, 0], scores[:, 1:]

    def loss(self, z: Float[Tensor, "F B d"], y: Float[Tensor, "F B k"]) -> Float[Tensor, " F"]:
        drawn = torch.randperm(z.shape[1] - 1, generator=self.generator)[:TRAIN_SHIFTS] + 1
        joint, shifted = self.scores(z, y, drawn.tolist())
        self.log_average = moving_average(self.log_average, log_mean_exp(shifted.detach()))
        return corrected_loss(joint, shifted, self.log_average)

    def bound(self, z: Float[Tensor, "F n d"], y: Float[Tensor, "F n k"]) -> Float[Tensor, " F"]:
        return donsker_varadhan(*self.scores(z, y, spread_shifts(z.shape[1], STOP_SHIFTS)))

    def row_terms(self, z: Float[Tensor, "1 n d"], y: Float[Tensor, "1 n k"]) -> Float[Tensor, " n"]:
        shifts = spread_shifts(z.shape[1], HELD_SHIFTS)
        scored = [self.scores(z, y, [shift]) for shift in shifts]  # one by one: a fold of any size fits in memory
        return bound_influence(scored[0][0][0].double(), torch.cat([s[1][0] for s in scored]).double(), shifts)


def spread_shifts(n_rows: int, wanted: int) -> list[int]:
    """Return `wanted` different shifts, evenly over 1..n_rows - 1, or all of them where there are fewer."""
    return sorted({round(s) for s in np.linspace(1, n_rows - 1, min(wanted, n_rows - 1))})


def log_mean_exp(scores: Float[Tensor, "F s n"]) -> Float[Tensor, " F"]:
    """Log of the mean of e^T over shifts and rows."""
    return torch.logsumexp(scores.flatten(1), dim=1) - math.log(scores[0].numel())


def donsker_varadhan(joint: Float[Tensor, "F n"], shifted: Float[Tensor, "F s n"]) -> Float[Tensor, " F"]:
    """Mean T(z_i, y_i) - log mean e^T(z_i, y_j), in nats.

    Args:
        joint: T of the rows.
        shifted: T of each z with the y of other rows.

    Returns:
        The bound per fold.

    Example:
        >>> donsker_varadhan(torch.tensor([[1.0, 1.0]]), torch.zeros(1, 1, 2))
        tensor([1.])
    """
    return joint.mean(dim=1) - log_mean_exp(shifted)


def moving_average(log_average: Float[Tensor, " F"] | None, log_mean: Float[Tensor, " F"]) -> Float[Tensor, " F"]:
    """Log of (1 - r) average + r mean, with r = 0.01; the first mean starts the average."""
    if log_average is None:
        return log_mean
    return torch.logaddexp(log_average + math.log(1 - AVERAGE_RATE), log_mean + math.log(AVERAGE_RATE))


def corrected_loss(
    joint: Float[Tensor, "F n"], shifted: Float[Tensor, "F s n"], log_average: Float[Tensor, " F"]
) -> Float[Tensor, " F"]:
    """A loss whose gradient is that of the bound, negated, with the batch's E[e^T] below the line averaged over time.

    -(E_P[grad T] - E[e^T grad T] / average). With the batch's own mean below the line, the gradient would be biased,
    for the mean of a quotient is not the quotient of the means (Belghazi et al. 2018, section 3.2). Only the gradient
    means something; the value is not a bound.

    Args:
        joint: T of the rows.
        shifted: T of each z with the y of other rows.
        log_average: Log of the moving average of E[e^T].

    Returns:
        The loss per fold.
    """
    return torch.exp(shifted - log_average[:, None, None]).mean(dim=(1, 2)) - joint.mean(dim=1)


def bound_influence(
    joint: Float[Tensor, " n"], shifted: Float[Tensor, "s n"], shifts: Sequence[int]
) -> Float[Tensor, " n"]:
    """One term per row whose mean is the bound, and whose spread tells how the bound moves with the rows.

    T(z_i, y_i) - a_i - b_i + 2 - log E[e^T], with a_i and b_i the row's share in E[e^T] through its z and through its
    y, each of mean 1: the bound's first-order change with the row's weight (the delta method).
    """
    log_mean = log_mean_exp(shifted[None])[0]
    weights = torch.exp(shifted - log_mean)
    by_y = torch.stack([torch.roll(row, -shift) for row, shift in zip(weights, shifts, strict=True)])
    return joint - weights.mean(dim=0) - by_y.mean(dim=0) + 2 - log_mean

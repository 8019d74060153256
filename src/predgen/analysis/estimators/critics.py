"""Critics: small networks that score pairs (z, y), cross-fitted and stopped early.

One critic per fold, all folds trained side by side in one set of stacked weights. A critic never sees the rows its
bound is reported on, nor do those rows decide when it stops: of the other rows, a part is set apart for that.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from predgen.analysis.estimators.base import Pairs
from predgen.analysis.estimators.folds import held_out_rows

# Chosen on Gaussians with other seeds than those of the tables in docs/mutual_information.md.
FOLDS = 5
WIDTH = 64
STOP_SHARE = 0.2  # of the rows that are not held out
LEARNING_RATE = 0.01
MAX_EPOCHS = 200
PATIENCE_EPOCHS = 10
MIN_GAIN_NATS = 1e-3  # smaller gains on the stopping rows do not prolong training


class StackedLinear(nn.Module):
    """One linear layer per fold, with weights of its own; drawn as `nn.Linear` draws them."""

    def __init__(self, folds: int, inputs: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        width = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(folds, inputs, outputs).uniform_(-width, width, generator=generator))
        self.bias = nn.Parameter(torch.empty(folds, 1, outputs).uniform_(-width, width, generator=generator))

    def forward(self, values: Float[Tensor, "F n i"]) -> Float[Tensor, "F n o"]:
        """Apply each fold's layer to its rows."""
        return torch.baddbmm(self.bias, values, self.weight)


class Critics(nn.Module, ABC):
    """The critics of all folds, and the bound that they are trained for.

    Attributes:
        batch_rows: Rows per fold and training step; fewer where there are few rows.
    """

    batch_rows: ClassVar[int]

    @abstractmethod
    def loss(self, z: Float[Tensor, "F B d"], y: Float[Tensor, "F B k"]) -> Float[Tensor, " F"]:
        """Return what training lowers, per fold, on a batch of rows in random order."""

    @abstractmethod
    def bound(self, z: Float[Tensor, "F n d"], y: Float[Tensor, "F n k"]) -> Float[Tensor, " F"]:
        """Return the bound in nats, per fold, on rows in random order."""

    @abstractmethod
    def row_terms(self, z: Float[Tensor, "1 n d"], y: Float[Tensor, "1 n k"]) -> Float[Tensor, " n"]:
        """Return one term per row, whose mean is the bound and whose spread is that of its influence on the bound."""


MakeCritics = Callable[[int, torch.Generator], Critics]
"""(number of folds, generator) -> critics with random weights."""


@dataclass(frozen=True, slots=True)
class FoldRows:
    """Row positions of every fold, in random order.

    Attributes:
        train: Rows that the weights are fitted to.
        stop: Rows that decide when to stop.
        held: Rows that the bound is reported on; each row of the data in exactly one fold.
    """

    train: Int[Tensor, "F m"]
    stop: Int[Tensor, "F s"]
    held: list[Int[Tensor, "..."]]


def fold_rows(pairs: Pairs, seed: int) -> FoldRows:
    """Split the rows; where folds differ by a row, the longer ones train without their last."""
    generator = np.random.default_rng(seed)
    train, stop, held = [], [], []
    for out in held_out_rows(pairs, FOLDS, seed):
        rest = generator.permutation(np.setdiff1d(np.arange(len(pairs)), out))
        n_stop = round(STOP_SHARE * len(rest))
        stop.append(torch.from_numpy(rest[:n_stop]))
        train.append(torch.from_numpy(rest[n_stop:]))
        held.append(torch.from_numpy(generator.permutation(out)))
    return FoldRows(_stacked(train), _stacked(stop), held)


def _stacked(rows: list[Tensor]) -> Tensor:
    """Bring rows of all folds to one length."""
    return torch.stack([r[: min(map(len, rows))] for r in rows])


def cross_fitted_terms(pairs: Pairs, make: MakeCritics, seed: int) -> Float[np.ndarray, " n"]:
    """Train a critic per fold, and return each row's term from the critic that never saw it.

    Args:
        pairs: The rows.
        make: Makes the critics.
        seed: Seed of folds, weights and batches.

    Returns:
        One term per row, in the order of the rows; their mean is the estimate in nats.
    """
    generator = torch.Generator().manual_seed(seed)
    z, y = (torch.from_numpy(side).float() for side in (pairs.z, pairs.y_columns))
    rows = fold_rows(pairs, seed)
    critics = make(FOLDS, generator)
    _train(critics, z, y, rows, generator)
    terms = torch.empty(len(pairs), dtype=torch.float64)
    for fold, held in enumerate(rows.held):
        one = make(1, generator)
        one.load_state_dict({name: weights[fold : fold + 1] for name, weights in critics.state_dict().items()})
        with torch.no_grad():
            terms[held] = one.row_terms(z[None, held], y[None, held])
    return terms.numpy()


def _train(
    critics: Critics, z: Float[Tensor, "n d"], y: Float[Tensor, "n k"], rows: FoldRows, generator: torch.Generator
) -> None:
    """Fit all folds; each ends with the weights of its best epoch on its stopping rows."""
    optimizer = torch.optim.Adam(critics.parameters(), lr=LEARNING_RATE, foreach=True)
    best = {name: weights.clone() for name, weights in critics.state_dict().items()}
    highest = goal = torch.full((FOLDS,), -math.inf)
    waited = torch.zeros(FOLDS)
    for _ in range(MAX_EPOCHS):
        _run_epoch(critics, optimizer, z, y, rows.train, generator)
        with torch.no_grad():
            bound = critics.bound(z[rows.stop], y[rows.stop])
        for name, weights in critics.state_dict().items():
            best[name][bound > highest] = weights[bound > highest]
        highest = torch.maximum(highest, bound)
        waited = torch.where(bound > goal + MIN_GAIN_NATS, 0, waited + 1)
        goal = torch.where(bound > goal + MIN_GAIN_NATS, bound, goal)
        if bool((waited >= PATIENCE_EPOCHS).all()):
            break
    critics.load_state_dict(best)


def _run_epoch(
    critics: Critics,
    optimizer: torch.optim.Optimizer,
    z: Float[Tensor, "n d"],
    y: Float[Tensor, "n k"],
    train: Int[Tensor, "F m"],
    generator: torch.Generator,
) -> None:
    """Visit each fold's rows once, in random order; the last rows that fill no batch wait for the next epoch."""
    order = torch.rand(train.shape, generator=generator).argsort(dim=1)
    shuffled = train.gather(1, order)
    n_rows = train.shape[1]
    batch_rows = min(critics.batch_rows, n_rows // 3)  # few rows: still three steps per epoch
    for start in range(0, n_rows - batch_rows + 1, batch_rows):
        batch = shuffled[:, start : start + batch_rows]
        optimizer.zero_grad()
        critics.loss(z[batch], y[batch]).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

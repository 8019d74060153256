"""Cross-fitting of critics: who sees which rows, when training stops, what is kept."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from predgen.analysis.estimators import critics
from predgen.analysis.estimators.base import Pairs, checked_pairs
from predgen.analysis.estimators.critics import Critics, StackedLinear, cross_fitted_terms, fold_rows


def pairs(n: int = 103, classes: int = 0) -> Pairs:
    z = np.arange(float(n))[:, None]  # a row's number can be read off its z
    y = np.random.default_rng(0).normal(size=(n, 1)) if not classes else np.arange(n) % classes
    return checked_pairs(z, y, "mine", 50)


class Watching(Critics):
    """Notes which z each fold was shown in training, and which when it was judged."""

    batch_rows: ClassVar[int] = 16
    trained: ClassVar[list[list[set[float]]]] = []
    judged: ClassVar[list[set[float]]] = []

    def __init__(self, folds: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(folds))

    def _note(self, z: Tensor) -> None:
        self.trained.append([set(fold.flatten().tolist()) for fold in z])

    def loss(self, z: Tensor, y: Tensor) -> Tensor:
        self._note(z)
        return self.weight

    def bound(self, z: Tensor, y: Tensor) -> Tensor:
        self._note(z)
        return torch.zeros(len(z))

    def row_terms(self, z: Tensor, y: Tensor) -> Tensor:
        self.judged.append(set(z.flatten().tolist()))
        return z.flatten().double()


def test_no_critic_sees_a_row_that_it_is_judged_on() -> None:
    Watching.trained, Watching.judged = [], []
    rows = pairs()
    terms = cross_fitted_terms(rows, Watching, seed=0)
    np.testing.assert_allclose(terms, rows.z[:, 0], rtol=1e-6)  # each row's term came back to its place, once
    assert [len(judged) for judged in Watching.judged] == [21, 21, 21, 20, 20]
    for fold, judged in enumerate(Watching.judged):
        seen = set().union(*(step[fold] for step in Watching.trained))
        assert len(seen) > 70
        assert not seen & judged


@pytest.mark.parametrize("classes", [0, 2])
def test_folds_part_the_rows(classes: int) -> None:
    rows = fold_rows(pairs(classes=classes), seed=1)
    assert sorted(torch.cat(rows.held).tolist()) == list(range(103))
    for train, stop, held in zip(rows.train, rows.stop, rows.held, strict=True):
        together = [*train.tolist(), *stop.tolist(), *held.tolist()]
        assert len(set(together)) == len(together) >= 102  # a longer fold leaves one row out
        if classes:
            assert abs(held.remainder(2).float().mean().item() - 0.5) < 0.06
    assert rows.held[0].tolist() != sorted(rows.held[0].tolist())


class Scripted(Watching):
    """Its weight counts epochs; the bound on the stopping rows follows a script, per fold."""

    script: ClassVar[Tensor]

    def loss(self, z: Tensor, y: Tensor) -> Tensor:
        return -self.weight

    def bound(self, z: Tensor, y: Tensor) -> Tensor:
        epoch = int(self.epochs.item())
        self.epochs += 1
        self.kept[:] = float(epoch)
        return self.script[min(epoch, len(self.script) - 1)]

    def __init__(self, folds: int, generator: torch.Generator) -> None:
        super().__init__(folds, generator)
        self.epochs = torch.zeros(())
        self.register_buffer("kept", torch.zeros(folds))

    def row_terms(self, z: Tensor, y: Tensor) -> Tensor:
        assert isinstance(self.kept, Tensor)
        return self.kept.double().expand(z.shape[1])


def kept_epochs(script: list[list[float]]) -> list[set[float]]:
    Scripted.script = torch.tensor(script)
    rows = pairs()
    terms = cross_fitted_terms(rows, Scripted, seed=0)
    return [set(terms[held].tolist()) for held in fold_rows(rows, seed=0).held]


def test_each_fold_keeps_its_best_epoch() -> None:
    script = [[0.0] * 5, [0.5, 0.0, 0.0, 0.0, 0.9], [0.4, 0.7, 0.0, 0.0, 0.0], [0.3, 0.0, 0.0, 0.2, 0.0]]
    assert kept_epochs(script) == [{1.0}, {2.0}, {0.0}, {3.0}, {1.0}]


def test_small_gains_are_kept_but_do_not_prolong_training() -> None:
    creeping = [[0.0005 * epoch / 10] * 5 for epoch in range(40)]
    assert kept_epochs(creeping) == [{10.0}] * 5  # patience is 10 epochs after the first
    growing = [[0.002 * epoch] * 5 for epoch in range(40)]
    assert kept_epochs(growing) == [{39.0}] * 5


def test_stacked_layer_is_one_linear_layer_per_fold() -> None:
    layer = StackedLinear(3, 4, 2, torch.Generator().manual_seed(0))
    values = torch.randn(3, 5, 4)
    with torch.no_grad():
        for fold, out in enumerate(layer(values)):
            torch.testing.assert_close(out, values[fold] @ layer.weight[fold] + layer.bias[fold, 0])
    assert layer.weight.abs().max() <= 0.5  # 1 / sqrt(4), as nn.Linear
    assert not torch.equal(layer.weight[0], layer.weight[1])


def test_epoch_visits_each_row_at_most_once_in_batches_that_fit() -> None:
    Watching.trained = []
    train = torch.arange(40).expand(5, -1)
    columns = torch.arange(40.0)[:, None]
    made = Watching(5, torch.Generator())
    optimizer = torch.optim.Adam(made.parameters())
    critics._run_epoch(made, optimizer, columns, columns, train, torch.Generator().manual_seed(0))
    assert [len(step[0]) for step in Watching.trained] == [13, 13, 13]  # a third of 40, for 16 would leave two steps
    assert len(set().union(*(step[0] for step in Watching.trained))) == 39
    assert Watching.trained[0][0] != Watching.trained[0][1]  # folds have orders of their own

import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from predgen.sampling.draws import SamplingPlan

row_lists = st.lists(st.integers(0, 10**9), min_size=1, max_size=8)


def draw(rows: list[int], width: int, seed: int = 0, epoch: int = 0) -> Tensor:
    return SamplingPlan(0.5, seed, epoch).uniforms(torch.tensor(rows), width)


@settings(deadline=None)
@given(row_lists, st.integers(1, 12), st.integers(0, 2**32), st.integers(0, 100), st.randoms())
def test_draws_do_not_depend_on_batch_split_or_order(
    rows: list[int], width: int, seed: int, epoch: int, rng: random.Random
) -> None:
    together = draw(rows, width, seed, epoch)
    order = list(range(len(rows)))
    rng.shuffle(order)
    assert torch.equal(draw([rows[i] for i in order], width, seed, epoch), together[order])
    for i, row in enumerate(rows):
        assert torch.equal(draw([row], width, seed, epoch)[0], together[i])


@settings(deadline=None)
@given(row_lists, st.integers(1, 12), st.integers(1, 12))
def test_a_wider_batch_only_appends_draws(rows: list[int], width: int, more: int) -> None:
    # A row's draws may not change with the longest answer of its batch.
    assert torch.equal(draw(rows, width + more)[:, :width], draw(rows, width))


def test_the_global_generators_are_neither_read_nor_moved() -> None:
    before = torch.random.get_rng_state()
    first = draw([3, 4], 5)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(draw([3, 4], 5), first)


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 1}, {"rows": [1]}])
def test_seed_epoch_and_row_each_change_the_draws(other: dict[str, object]) -> None:
    first, second = draw([0], 8), draw(**{"rows": [0], "width": 8, **other})
    assert (first != second).all()


def test_swapping_seed_and_epoch_gives_other_draws() -> None:
    assert (draw([5], 8, seed=1, epoch=2) != draw([5], 8, seed=2, epoch=1)).all()


def test_streams_of_neighbouring_rows_do_not_overlap() -> None:
    draws = draw(list(range(50)), 80)
    for lag in range(72):
        # A row's draws from `lag` on are not the next row's first ones: four equal ones cannot be chance.
        assert not (draws[:-1, lag : lag + 4] == draws[1:, :4]).all(dim=1).any()


def test_draws_are_below_one_in_single_precision_too() -> None:
    # The double drawn here, 0.99999999057, would round to 1.0f, and p = 1 would feed a gold token.
    draws = draw([2889], 2967)
    assert draws.dtype == torch.float32
    assert float(draws.min()) >= 0.0
    assert float(draws.max()) < 1.0


N = 4000


@pytest.mark.parametrize("axis", ["rows", "positions", "epochs", "seeds"])
def test_draws_are_uniform_along_every_axis(axis: str) -> None:
    values = {
        "rows": lambda: draw(list(range(N)), 1).flatten(),
        "positions": lambda: draw([7], N).flatten(),
        "epochs": lambda: torch.cat([draw([7], 1, epoch=e) for e in range(N)]).flatten(),
        "seeds": lambda: torch.cat([draw([7], 1, seed=s) for s in range(N)]).flatten(),
    }[axis]()
    for p in (0.1, 0.5, 0.9):
        # Four standard deviations of a share of N draws; the draws are fixed, so this cannot fail by chance.
        assert float((values < p).float().mean()) == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / N))
    centred = values - values.mean()
    correlation = float((centred[1:] * centred[:-1]).mean() / centred.square().mean())
    assert abs(correlation) < 4 / math.sqrt(N)  # neighbours are independent

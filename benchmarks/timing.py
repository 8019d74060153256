"""Timing in one process: A B A B ..., after a warm-up, until the rounds or the seconds are used up."""

import gc
import time
from collections.abc import Callable

import torch

from benchmarks.figures import Figures

WARM_UPS = 2
WARM_UP_SHARE = 0.1  # of the budget; a call that takes longer than this has warmed up in one round


def timed(call: Callable[[], object]) -> float:
    """Seconds of one call, what it has queued on a GPU included."""
    gc.collect()
    _wait()
    start = time.perf_counter()
    call()
    _wait()
    return time.perf_counter() - start


def _wait() -> None:
    """Wait for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def alternate(
    ours: Callable[[], object],
    peer: Callable[[], object],
    *,
    repeats: int,
    budget_s: float,
    least_rounds: int = 5,
    warm_ups: int = WARM_UPS,
) -> Figures:
    """Measure two calls by turns, so that a change of the machine's pace meets both.

    Args:
        ours: The first of each round.
        peer: The second of each round.
        repeats: Most rounds.
        budget_s: Seconds after which no round is begun, once there are `least_rounds`.
        least_rounds: Fewest rounds, unless `repeats` is smaller.
        warm_ups: Rounds that are not counted; fewer where they take long.
    """
    start = time.perf_counter()
    for done in range(warm_ups):
        if done and time.perf_counter() - start > WARM_UP_SHARE * budget_s:
            break
        ours()
        peer()
    rounds: list[tuple[float, float]] = []
    start = time.perf_counter()
    while len(rounds) < repeats:
        if len(rounds) >= least_rounds and time.perf_counter() - start > budget_s:
            break
        rounds.append((timed(ours), timed(peer)))
    return Figures.of([mine for mine, _ in rounds], [theirs for _, theirs in rounds], "s")

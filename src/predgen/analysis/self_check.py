"""The estimators on channels of known mutual information: which figure to trust, and at how many rows."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from predgen import registries
from predgen.analysis.channels import (
    Channel,
    binary_symmetric_channel,
    correlated_gaussians,
    exclusive_or,
    gaussian_mixture,
    lognormals,
)
from predgen.settings import declared
from predgen.threads import available_cores

SEEDS = 5
ROWS = (500, 5000)
GAUSSIAN_NATS = {1: (0.0, 0.1, 0.5, 1.0, 2.0), 2: (0.0, 0.5, 2.0), 5: (0.0, 0.5, 2.0), 10: (0.0, 0.5, 2.0)}
MAX_WORKERS = 8


@dataclass(frozen=True, slots=True)
class CheckRow:
    """An estimator on one channel, over seeds that draw both the rows and what the estimator draws.

    Attributes:
        channel: Name of the channel.
        estimator: Registry name.
        dim: Columns of z.
        n: Rows.
        true_nats: I(Z; Y).
        estimate_nats: Mean over seeds.
        std_nats: Standard deviation over seeds.
    """

    channel: str
    estimator: str
    dim: int
    n: int
    true_nats: float
    estimate_nats: float
    std_nats: float

    @property
    def error_nats(self) -> float:
        """Mean estimate minus truth."""
        return self.estimate_nats - self.true_nats

    @property
    def is_close(self) -> bool:
        """Whether the mean is within 5 % of the truth, or within 0.05 nats."""
        return abs(self.error_nats) <= max(0.05 * self.true_nats, 0.05)


@dataclass(frozen=True, slots=True)
class _Run:
    """One estimate to make: position in `channels()`, and the rest of its arguments."""

    channel: int
    estimator: str
    n: int
    seed: int


def channels() -> list[Channel]:
    """Return the channels of the check."""
    return [
        *(correlated_gaussians(dim, nats) for dim, strengths in GAUSSIAN_NATS.items() for nats in strengths),
        *(lognormals(dim, 1.0) for dim in (1, 5)),
        *(binary_symmetric_channel(flip) for flip in (0.3, 0.1)),
        *(gaussian_mixture(dim, 2.0) for dim in (1, 10)),
        exclusive_or(4.0),
    ]


def estimate_once(estimator: str, channel: Channel, n: int, seed: int) -> float:
    """Draw rows and estimate; the seed draws both. Estimators that repeat seeds run one.

    Args:
        estimator: Registry name.
        channel: Where the rows come from.
        n: Number of rows.
        seed: Seed of both.

    Returns:
        The estimate in nats.
    """
    make, settings = registries.mi_estimators.get(estimator), registries.mi_estimators.settings_of(estimator)
    made = make(settings(repeats=1)) if "repeats" in declared(settings) else make()
    z, y = channel.draw(n, np.random.default_rng(seed))
    return float(made.estimate(z, y, seed=seed).nats)


def self_check(*, workers: int | None = None, on_done: Callable[[int], None] = lambda done: None) -> list[CheckRow]:
    """Run every estimator on every channel.

    Args:
        workers: Processes to share the work; default: the processors at hand, at most 8.
        on_done: Called with 1 after each estimate; there are `n_estimates()`.

    Returns:
        One row per channel, number of rows and estimator, in this order.
    """
    runs = _runs()
    found = []
    for nats in _estimates(runs, workers or min(available_cores(), MAX_WORKERS)):
        found.append(nats)
        on_done(1)
    by_seed = np.array(found).reshape(-1, SEEDS)
    return [
        CheckRow(c.name, run.estimator, c.dim, run.n, c.true_nats, float(values.mean()), float(values.std(ddof=1)))
        for run, values in zip(runs[::SEEDS], by_seed, strict=True)
        for c in [channels()[run.channel]]
    ]


def n_estimates() -> int:
    """Return how many estimates `self_check` makes."""
    return len(_runs())


def _runs() -> list[_Run]:
    """List all estimates, the seeds of one figure side by side."""
    return [
        _Run(channel, estimator, n, seed)
        for channel in range(len(channels()))
        for n in ROWS
        for estimator in registries.mi_estimators
        for seed in range(SEEDS)
    ]


def _estimates(runs: list[_Run], workers: int) -> Iterator[float]:
    """Yield the estimates in order."""
    if workers == 1:
        yield from map(_run, runs)
        return
    # Forking a process that holds torch's threads can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        yield from pool.map(_run, runs)


def _run(run: _Run) -> float:
    """Make one estimate."""
    return estimate_once(run.estimator, channels()[run.channel], run.n, run.seed)


def _one_thread() -> None:
    """Let each process use one processor."""
    import torch

    torch.set_num_threads(1)

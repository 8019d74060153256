"""From the records of an experiment to what it shows."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from predgen.compare.findings import Findings
from predgen.compare.records import Record

N_RESAMPLES = 2000


def findings(
    experiment: Path | Sequence[Record],
    *,
    headline: Sequence[str] | None = None,
    expected: Iterable[tuple[str, str, int]] | None = None,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Findings:
    """Work out what an experiment shows.

    Args:
        experiment: Its folder, or its records.
        headline: Variants to compare with each other, which also decides over how many comparisons to correct; None: all
            methods, derived ones included, baselines not.
        expected: (task to train on, variant, seed) of all runs that should be there; None: what the other records let
            expect.
        n_resamples: Resamples of bootstraps and tests.
        seed: Seed of their draws.
    """
    raise NotImplementedError

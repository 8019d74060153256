"""Two methods on the same rows with the same seeds: is one better, and how sure is that?

Two tests ask two questions, and the greater p counts.

- Sign flips over rows (`p_rows`): would other rows give such a difference, for these very models? The difference of a
  row, mean over seeds, keeps its sign or not by a coin's toss; p is the share of tosses that give at least as great a
  mean. It assumes that rows are independent and that, if the methods do not differ, a row's difference is as likely
  positive as negative. With one seed and right-or-wrong scores it is McNemar's exact test.
- min F' (`p_seeds`): would other rows and other seeds give it? Student's t of the mean difference, whose variance is that
  of row means plus that of seed means. It assumes that seed means are roughly normal, and rows many or roughly normal.
  It is conservative: chance that belongs to a row and a seed together counts twice. With one seed there is no such test,
  and no claim about other seeds.

Source: Clark (1973), "The language-as-fixed-effect fallacy", Journal of Verbal Learning and Verbal Behavior 12; Holm
(1979), "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from predgen.findings.base import Difference, Verdict
from predgen.metrics.bootstrap import Draws, joined_error
from predgen.metrics.weighted import Floats

ALPHA = 0.05
N_FLIPS = 20_000
"""Tosses of the sign-flip test. It sets the least p, 5e-5, which has to survive the correction over many comparisons."""

_MAX_ALL_SIGNS = 14
"""Up to so many rows that differ, all 2^14 = 16384 signs are tried instead of random ones."""


def sign_flip_p(differences: Floats, *, n_flips: int = N_FLIPS, seed: int = 0) -> float:
    """Two-sided p of the sign-flip test of a mean of 0.

    Args:
        differences: One per row.
        n_flips: Random tosses, where there are too many rows to try all.
        seed: Seed of the tosses.

    Returns:
        Share of the signs whose mean is at least as far from 0; random tosses count the real one too, so that p > 0.

    Example:
        >>> sign_flip_p(np.array([1.0, 1.0, 1.0, 1.0, -1.0]))  # 5 of 5 or 4 of 5, on either side: (1 + 5) / 32 * 2
        0.375
    """
    # A row whose difference is 0 adds 0 under either sign, so only the M rows that differ are tossed. The sum stands for the
    # mean, since the number of rows is the same in every toss. Few rows: all 2^M signs, a matrix 2^M x M, and an exact p.
    # Many: random tosses, drawn in parts so that no matrix has more than some millions of signs, and the real one counts
    # as one of them, so that p is never 0.
    moved = differences[differences != 0]
    # Sums of the same numbers in another order differ in the last bits.
    bound = abs(moved.sum()) - 1e-9 * np.abs(moved).sum()
    if len(moved) <= _MAX_ALL_SIGNS:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(moved)))).reshape(2 ** len(moved), len(moved))
        return float(np.mean(np.abs(signs @ moved) >= bound))
    generator, step, extreme = np.random.default_rng(seed), max(1, 2_000_000 // len(moved)), 0
    for start in range(0, n_flips, step):
        flips = generator.integers(2, size=(min(step, n_flips - start), len(moved)), dtype=np.int8)
        extreme += int(np.sum(np.abs((2.0 * flips - 1) @ moved) >= bound))
    return (extreme + 1) / (n_flips + 1)


def min_f_p(differences: Floats) -> float | None:
    """Two-sided p of a mean of 0 over rows and seeds (min F').

    Args:
        differences: Seeds x rows.

    Returns:
        p; None for fewer than two seeds or two rows.
    """
    n_seeds, n_rows = differences.shape
    if n_seeds < 2 or n_rows < 2:
        return None
    # The mean of S x N differences moves with the rows that were drawn and with the seeds that were: two means of means, one
    # over N rows (each the mean of its S seeds), one over S seeds (each the mean of its N rows). Each has the variance of a
    # mean, s^2 / n, and their sum is that of the whole; Satterthwaite's degrees of freedom lie near those of the part that
    # weighs more, which with three seeds that differ are two: t is then much wider than the normal.
    mean = float(differences.mean())
    by_rows = float(differences.mean(axis=0).var(ddof=1)) / n_rows
    by_seeds = float(differences.mean(axis=1).var(ddof=1)) / n_seeds
    error, freedom = joined_error(by_rows, n_rows, by_seeds, n_seeds)
    if error <= 1e-12 * abs(mean):
        return 1.0 if mean == 0 else 0.0
    return float(2 * stats.t.sf(abs(mean) / error, freedom))


def holm(p: Sequence[float]) -> list[float]:
    """Correct p-values for the number of comparisons, holding the chance of any false finding.

    Args:
        p: One per comparison.

    Returns:
        max over the smaller ones of (comparisons left) * p, at most 1, in the order of `p`.

    Example:
        >>> holm([0.01, 0.04, 0.03])  # 3 * 0.01, 2 * 0.03, then not below that
        [0.03, 0.06, 0.06]
    """
    corrected, highest = [0.0] * len(p), 0.0
    for place, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        highest = max(highest, min(1.0, (len(p) - place) * p[i]))
        corrected[i] = highest
    return corrected


def with_verdicts(family: Sequence[Difference]) -> list[Difference]:
    """Correct the comparisons of one family and say what each one shows."""
    corrected = holm([difference.p for difference in family])
    return [
        replace(difference, p_corrected=p, verdict=_verdict(difference, p))
        for difference, p in zip(family, corrected, strict=True)
    ]


def _verdict(difference: Difference, p: float) -> Verdict:
    """Which is better, if that is shown."""
    value = difference.estimate.value
    if p >= ALPHA or not value:
        return "no difference shown"
    return "first better" if (value > 0) == difference.greater_is_better else "second better"


def standardised(first: Floats, second: Floats, greater_is_better: bool) -> float | None:
    """Mean difference in standard deviations of a row's score, positive where the first is better.

    Args:
        first: Scores, seeds x rows.
        second: Scores of the other method, seeds x rows.
        greater_is_better: Direction of the scores.

    Returns:
        The mean difference over the root of the mean of both methods' variances; None where no score varies.
    """
    spread = float(np.sqrt((first.var() + second.var()) / 2))
    if spread == 0:
        return None
    return float(first.mean() - second.mean()) / spread * (1 if greater_is_better else -1)


def resampled_differences(differences: Floats, draws: Draws) -> Floats:
    """Mean difference of each seed on every resample of rows, resamples x seeds."""
    return draws.over_rows(lambda weights: weights @ differences.T / weights.sum(axis=1, keepdims=True))

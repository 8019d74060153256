"""Sets of labels and intervals of numbers that hold the truth in a share of cases, whatever the model and the data are like.

Split conformal prediction: the scores of N calibration rows and of a new row are exchangeable, so that the new one is at most
the ceil((N + 1) c)-th least of them with a chance of at least c, and at most c + 1 / (N + 1) where no two are equal. Within
groups (Mondrian) each group has its own N. The order statistics are those of crepes (Bostrom 2022, "crepes: a Python Package
for Generating Conformal Regressors and Predictive Systems"); Vovk, Gammerman and Shafer (2005), "Algorithmic Learning in a
Random World". Sets and intervals always hold the prediction itself, which makes them hold the truth more often, never less.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from predgen.errors import ConfigError
from predgen.metrics.weighted import Floats
from predgen.uncertainty.record import CalibrationRecord
from predgen.uncertainty.scores import BASES, OF_LABELS, OF_NUMBERS, Spread, cqr_name

Groups = Sequence[str] | None
"""Group of each row; None: all rows are one group."""


def check_coverage(coverage: float, record: CalibrationRecord, how: str, *, by_group: bool) -> None:
    """Refuse what cannot be promised.

    Args:
        coverage: Share of cases in which the truth is to be inside.
        record: The calibration.
        how: Name of the score.
        by_group: Whether groups are looked at one by one: then rows are told apart where one is too small.

    Raises:
        ConfigError: If the share is none, or the calibration has too few rows for it.
    """
    if not 0 < coverage < 1:
        raise ConfigError(f"`coverage` is {coverage}, but must lie between 0 and 1, such as 0.9.")
    needed = least_rows(coverage, how)
    if not by_group and record.rows < needed:
        raise ConfigError(
            f"`coverage` {coverage} needs at least {needed} calibration rows, but the model was calibrated on {record.rows}."
            " Ask for less, or calibrate on more rows (`predgen calibrate RUN --data FILE`)."
        )


def least_rows(coverage: float, how: str) -> int:
    """Return how many calibration rows a coverage needs: with fewer only everything would do."""
    tail = (1 - coverage) / (2 if how == "cps" else 1)  # a predictive system cuts off two tails
    return math.ceil(1 / tail - 1e-9) - 1


def label_sets(
    record: CalibrationRecord, how: str, probabilities: Floats, coverage: float, groups: Groups = None
) -> npt.NDArray[np.bool_]:
    """Return which labels are in each row's set, N x K; the most probable one always is.

    Args:
        record: The calibration.
        how: One of `OF_LABELS`.
        probabilities: N x K.
        coverage: Share of rows whose true label is to be inside.
        groups: Group of each row.
    """
    scores = OF_LABELS[how](probabilities)
    [highest] = thresholds(record, how, [coverage], [True], len(scores), groups)
    inside = scores <= highest[:, None]
    inside[np.arange(len(scores)), probabilities.argmax(axis=1)] = True
    return np.asarray(inside)


def number_intervals(
    record: CalibrationRecord,
    how: str,
    spread: Spread,
    coverage: float,
    groups: Groups = None,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Floats:
    """Return lower and upper end for each row, N x 2; infinite where a group has too few calibration rows.

    Args:
        record: The calibration.
        how: One of `OF_NUMBERS`.
        spread: What the predictions say.
        coverage: Share of rows whose true number is to be inside.
        groups: Group of each row.
        bounds: No number is below or above.
    """
    n_rows = len(spread.point)
    if how == "cps":
        tail = (1 - coverage) / 2
        low, high = thresholds(record, "cps", [tail, 1 - tail], [False, True], n_rows, groups)
        ends = np.stack([spread.point + low * spread.sigma, spread.point + high * spread.sigma], axis=1)
    else:
        assert spread.ends is not None, "`check_how` has seen to it"
        place = min(range(len(BASES)), key=lambda i: abs(BASES[i] - coverage))
        [width] = thresholds(record, cqr_name(BASES[place]), [coverage], [True], n_rows, groups)
        ends = spread.ends[:, place] + np.stack([-width, width], axis=1)
        # Where the model is too careful, its quantiles move inwards, and may pass each other.
        crossed = ends[:, 0] > ends[:, 1]
        ends[crossed] = ends[crossed].mean(axis=1, keepdims=True)
    ends = np.clip(ends, *bounds)
    return np.stack([np.minimum(ends[:, 0], spread.point), np.maximum(ends[:, 1], spread.point)], axis=1)


def check_how(how: str | None, record: CalibrationRecord, *, is_ordered: bool) -> str:
    """Return the name of the score to use, the default for the model where none is given.

    Raises:
        ConfigError: If the calibration has no such score.
    """
    of_labels = [name for name in OF_LABELS if name in record.scores]
    of_numbers = [name for name in OF_NUMBERS if name == "cps" or cqr_name(BASES[0]) in record.scores]
    allowed = of_labels or of_numbers
    if how is None:
        return "ordinal" if is_ordered and of_labels else allowed[0]
    if how not in allowed:
        raise ConfigError(f"`conformal` is {how!r}, but this model allows: {', '.join(allowed)}.")
    return how


def thresholds(
    record: CalibrationRecord,
    score: str,
    shares: Sequence[float],
    upward: Sequence[bool],
    n_rows: int,
    groups: Groups = None,
) -> list[Floats]:
    """Return order statistics of calibration scores, of each row's group; infinite where it has too few rows.

    Args:
        record: The calibration.
        score: Name of the score.
        shares: Shares of the N + 1 scores.
        upward: Whether each is the least score with such a share at or below it, or the greatest with no more.
        n_rows: Rows to return them for.
        groups: Group of each row.

    Returns:
        One value per row, for each share.
    """
    kept = np.array(record.scores[score], dtype=np.float64)
    if groups is None:
        table = _order_statistics(kept, shares, upward)
        return [np.full(n_rows, value) for value in table]
    known = np.array(record.groups)
    found = {g: _order_statistics(kept[known == g], shares, upward) for g in set(groups)}
    return [np.array([found[g][i] for g in groups]) for i in range(len(shares))]


def _order_statistics(scores: Floats, shares: Sequence[float], upward: Sequence[bool]) -> list[float]:
    """Those of one group; crepes knows no empty one."""
    if len(scores) == 0:
        return [math.inf if up else -math.inf for up in upward]
    system = _crepes().ConformalPredictiveSystem().fit(scores)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # too few rows: the infinite ends say it
        return [
            float(
                system.predict_percentiles(
                    np.zeros(1), **{"higher_percentiles" if up else "lower_percentiles": [100 * round(share, 12)]}
                )[0]
            )
            for share, up in zip(shares, upward, strict=True)
        ]


def _crepes() -> Any:  # noqa: ANN401
    """The library; it is imported when it is asked for, and its filter of warnings is taken back."""
    with warnings.catch_warnings():
        import crepes
    return crepes

"""Cross-fitting: every row is held out exactly once, and judged by what was fitted without it."""

import numpy as np
from jaxtyping import Int

from predgen.analysis.estimators.base import Pairs


def held_out_rows(pairs: Pairs, folds: int, seed: int) -> list[Int[np.ndarray, "..."]]:
    """Split the rows into folds of equal size, within one row; classes keep their shares in each fold.

    Args:
        pairs: The rows.
        folds: Number of folds, >= 2.
        seed: Seed of the shuffle.

    Returns:
        The held-out row positions of each fold.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    splitter = (StratifiedKFold if pairs.is_discrete else KFold)(folds, shuffle=True, random_state=seed)
    return [held for _, held in splitter.split(pairs.z, pairs.y)]

"""A generated data set of graded opinions: text, score from 0.0 to 10.0, and label negative, mixed or positive.

The score follows from the text by rules (intensifiers, negation, contrast, several aspects), plus a little
noise, so the best possible result is known. Validation and test use other nouns than train, and in part other
adjectives: what is learnt there must come from what the language model knows about words.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from predgen.demo.opinion_words import (
    ADJECTIVES,
    FRAMES,
    HELD_OUT_OCCASIONS,
    JOINS,
    PHRASES,
    TRAIN_OCCASIONS,
)
from predgen.errors import ConfigError

_T = TypeVar("_T")

NOISE_STD = 0.3
"""Standard deviation of the noise added to the rules' score, in points, before rounding to one decimal."""
MIXED = (4.0, 6.0)
"""Scores below are "negative", above "positive", between (both ends included) "mixed"."""
LABELS = ("negative", "mixed", "positive")

HELD_OUT_SHARE = 0.1
"""Share of the validation and test clauses whose adjective is one that no training row has; their nouns all are."""

_TRIES = 1000  # draws of a new text before giving up
_PHRASES = [(text, factor) for text, factor, times in PHRASES for _ in range(times)]
_JOINS = [join[:4] for join in JOINS for _ in range(join[4])]


@dataclass(frozen=True, slots=True)
class NoiseCeiling:
    """What a predictor reaches that knows the rules, but not the noise.

    Attributes:
        r2: Share of the scores' variance that it explains.
        rmse: Root of its mean squared error, in points.
        accuracy: Share of its right labels.
        rows: Rows it was measured on.
    """

    r2: float
    rmse: float
    accuracy: float
    rows: int


def make_opinions(n_train: int, n_validation: int, n_test: int, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Generate the data set. No text occurs twice, in one split or in two.

    Test rows depend on `seed` and `n_test` alone, train rows on `seed` and `n_train` alone.

    Returns:
        "train", "validation" and "test" -> rows with `text`, `score` (one decimal) and `label`.

    Raises:
        ConfigError: If a number of rows is negative, or larger than the number of different texts drawn in reasonable time.

    Example:
        >>> make_opinions(1, 0, 0, seed=0)["train"][0].keys()
        dict_keys(['text', 'score', 'label'])
    """
    seen: set[str] = set()
    splits = {
        "test": _drawn("test", n_test, seed, seen),
        "train": _drawn("train", n_train, seed, seen),
        "validation": _drawn("validation", n_validation, seed, seen),
    }
    return {split: [row for row, _ in splits[split]] for split in ("train", "validation", "test")}


def noise_ceiling(n_test: int = 1000, seed: int = 0) -> NoiseCeiling:
    """Measure, on the test rows of `make_opinions(..., n_test, seed)`, the best that any predictor can expect.

    The predictor says the rules' score before noise and rounding, and the label of that score.

    Raises:
        ConfigError: If there are fewer than two rows.
    """
    if n_test < 2:
        raise ConfigError(f"`n_test` is {n_test}, but a ceiling needs at least 2 rows.")
    drawn = _drawn("test", n_test, seed, set())
    scores = [float(row["score"]) for row, _ in drawn]
    mean = sum(scores) / n_test
    residual = sum((score - exact) ** 2 for score, (_, exact) in zip(scores, drawn, strict=True))
    right = sum(row["label"] == _label(exact) for row, exact in drawn)
    total = sum((score - mean) ** 2 for score in scores)
    return NoiseCeiling(1 - residual / total, (residual / n_test) ** 0.5, right / n_test, n_test)


def _drawn(split: str, n: int, seed: int, seen: set[str]) -> list[tuple[dict[str, Any], float]]:
    """Draw `n` rows with new texts, each with its score before noise; add their texts to `seen`."""
    if n < 0:
        raise ConfigError(f"`n_{split}` is {n}, but must be 0 or more rows.")
    rng = random.Random(f"opinions-{split}-{seed}")
    rows: list[tuple[dict[str, Any], float]] = []
    for _ in range(n):
        for _ in range(_TRIES):
            text, valence = _opinion(rng, held_out=split != "train")
            if text not in seen:
                break
        else:
            raise ConfigError(f"`n_{split}` is {n}: no further text was found after {len(rows)} rows; ask for fewer.")
        seen.add(text)
        exact = 5.0 + 5.0 * max(-1.0, min(1.0, valence))
        score = round(max(0.0, min(10.0, exact + NOISE_STD * _normal(rng))), 1)
        rows.append(({"text": text, "score": score, "label": _label(score)}, exact))
    return rows


def _opinion(rng: random.Random, *, held_out: bool) -> tuple[str, float]:
    """Draw one text and its valence."""
    occasions = HELD_OUT_OCCASIONS if held_out else TRAIN_OCCASIONS
    occasion = _pick(rng, list(occasions))
    first = _pick(rng, occasions[occasion])
    second = _pick(rng, [noun for noun in occasions[occasion] if noun != first])
    join, weight_1, weight_2, relation = _pick(rng, _JOINS)
    clause_1, valence_1 = _clause(rng, first, held_out)
    clause_2, valence_2 = _clause(rng, second, held_out)
    while relation and (valence_1 * valence_2 > 0) != (relation > 0):
        clause_2, valence_2 = _clause(rng, second, held_out)
    text = join.format(clause_1, clause_2)
    return text[0].upper() + text[1:], (weight_1 * valence_1 + weight_2 * valence_2) / (weight_1 + weight_2)


def _clause(rng: random.Random, noun: str, held_out: bool) -> tuple[str, float]:
    """Draw a statement about a noun and its valence."""
    valence = _pick(rng, list(ADJECTIVES))
    adjective = _pick(rng, ADJECTIVES[valence][held_out and rng.random() < HELD_OUT_SHARE])
    phrase, factor = _pick(rng, _PHRASES)
    text = _pick(rng, FRAMES).format(n=noun, p=phrase.format(a=adjective))
    return text, max(-1.0, min(1.0, factor * valence))


def _label(score: float) -> str:
    """Return the label of a score."""
    return LABELS[(score >= MIXED[0]) + (score > MIXED[1])]


# random() is the one method whose sequence for a seed Python promises to keep; choice() and gauss() may change.
def _pick(rng: random.Random, items: Sequence[_T]) -> _T:
    """Draw one item."""
    return items[int(rng.random() * len(items))]


def _normal(rng: random.Random) -> float:
    """Draw a nearly normal number: 12 uniform draws have variance 1, and no libm differs in adding them."""
    return sum(rng.random() for _ in range(12)) - 6.0

"""How good answers are, against answers with probabilities: per question and case, and how well probabilities are calibrated."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from predgen.distribution import Distribution
from predgen.metrics.bootstrap import Draws, percentile_interval
from predgen.metrics.probabilities import N_BINS, bin_of
from predgen.metrics.weighted import Floats, Weights
from predgen.questions.kinds import NumberQuestion, TypedQuestion
from predgen.questions.wording import written_answers

_LEAST = np.finfo(np.float64).eps  # what a probability counts as at least, as in `log_loss`


@dataclass(frozen=True, slots=True)
class Judged:
    """One answered question of one case.

    Attributes:
        case: Number of the case.
        name: Name of the question.
        question: The question.
        told: Probabilities that a model gives.
        gold: Probabilities of the file.
    """

    case: int
    name: str
    question: TypedQuestion
    told: tuple[float, ...]
    gold: tuple[float, ...]


def accuracy_of(one: Judged) -> float:
    """1 where the most probable answer is the file's, else 0; where several are the file's most probable, each is right."""
    return float(one.gold[int(np.argmax(one.told))] == max(one.gold))


def kl_of(one: Judged) -> float:
    """KL(gold || told) = sum_a gold_a log(gold_a / told_a), in nats; where the file is certain, -log told of its answer."""
    gold, told = np.array(one.gold), np.maximum(one.told, _LEAST)
    return float(sum(g * np.log(g / t) for g, t in zip(gold, told, strict=True) if g > 0))


def brier_of(one: Judged) -> float:
    """Sum over answers of (told - gold)^2, 0 to 2; Brier (1950)."""
    return float(((np.array(one.told) - np.array(one.gold)) ** 2).sum())


def crps_of(one: Judged) -> float:
    """Expected continuous ranked probability score of a number, in its unit: mean over the file's numbers, by their probability."""
    numbers, told = _numbers(one), np.array(one.told)
    return float(sum(g * Distribution(numbers, told).crps(x) for x, g in zip(numbers, one.gold, strict=True) if g > 0))


def mae_of(one: Judged) -> float:
    """Distance of the median from the file's numbers, by their probability."""
    numbers = _numbers(one)
    return float(np.array(one.gold) @ np.abs(numbers - Distribution(numbers, np.array(one.told)).median()))


def _numbers(one: Judged) -> Floats:
    """The grid of a number's question."""
    assert isinstance(one.question, NumberQuestion), "asked of numbers alone"
    return np.array([float(number) for number in one.question.numbers])


def ece_top_label(judged: Sequence[Judged], weights: Weights | None = None) -> Floats:
    """Expected calibration error of the most probable answer, in ten bins of equal width of its probability.

    ECE = sum over bins of (n_b / N) |mean of the file's probability of that answer - mean of the model's|. Where the file is
    certain, the former is the share of right answers. Source: Guo et al. (2017), "On Calibration of Modern Neural Networks",
    arXiv:1706.04599.

    Args:
        judged: Answered questions.
        weights: How often each counts, one row a resample; None: each once.

    Returns:
        One figure per resample.
    """
    top = [int(np.argmax(one.told)) for one in judged]
    told = np.array([one.told[i] for one, i in zip(judged, top, strict=True)])
    gold = np.array([one.gold[i] for one, i in zip(judged, top, strict=True)])
    counted = np.ones((1, len(judged))) if weights is None else weights
    return _binned(told, gold, counted)


def ece_class_wise(judged: Sequence[Judged], weights: Weights | None = None) -> Floats:
    """Expected calibration error of every answer, in the same bins, averaged over answers.

    For each answer to each question (by their names), as `ece_top_label`, over all cases that have it; then the mean over these.
    Source: Kull et al. (2019), "Beyond temperature scaling", arXiv:1910.12656.

    Args:
        judged: See `ece_top_label`.
        weights: See `ece_top_label`; an answer that a resample has no case of does not count in it.
    """
    counted = np.ones((1, len(judged))) if weights is None else weights
    classes: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for i, one in enumerate(judged):
        for place, text in enumerate(written_answers(one.question)):
            classes.setdefault((one.name, text), []).append((i, place))
    total, n = np.zeros(len(counted)), np.zeros(len(counted))
    for members in classes.values():
        told = np.array([judged[i].told[place] for i, place in members])
        gold = np.array([judged[i].gold[place] for i, place in members])
        of_class = counted[:, [i for i, _ in members]]
        is_there = of_class.sum(axis=1) > 0
        total += np.where(is_there, _binned(told, gold, of_class), 0.0)
        n += is_there
    return np.asarray(total / n, dtype=np.float64)


def _binned(told: Floats, gold: Floats, weights: Weights) -> Floats:
    """Sum over bins of |sum of (gold - told)|, over the number of rows, for each resample."""
    inside = (bin_of(told)[:, None] == np.arange(N_BINS)) * (gold - told)[:, None]
    n = np.maximum(weights.sum(axis=1), 1.0)
    return np.asarray(np.abs(weights @ inside).sum(axis=1) / n, dtype=np.float64)


def _mean(score: Callable[[Judged], float]) -> Callable[[Sequence[Judged], Weights], Floats]:
    """The mean of a score over answered questions, for each resample."""

    def figure(judged: Sequence[Judged], weights: Weights) -> Floats:
        scores = np.array([score(one) for one in judged])
        return np.asarray(weights @ scores / weights.sum(axis=1), dtype=np.float64)

    return figure


_Figures = Mapping[str, Callable[[Sequence[Judged], Weights], Floats]]
_OF_CHOICES: _Figures = {
    "accuracy": _mean(accuracy_of),
    "kl": _mean(kl_of),
    "brier": _mean(brier_of),
    "ece_top_label": ece_top_label,
    "ece_class_wise": ece_class_wise,
}
_OF_NUMBERS: _Figures = {"mae": _mean(mae_of), "crps": _mean(crps_of)}


def figures_of(judged: Sequence[Judged], n_resamples: int = 1000, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Return what answered questions show, with 95 % bootstrap intervals over cases.

    Args:
        judged: Answered questions of yes/no, choices and scores together, or of numbers.
        n_resamples: Resamples of cases.
        seed: Seed of their draws.

    Returns:
        Figure -> value, low, high.
    """
    if not judged:
        return {}
    is_number = isinstance(judged[0].question, NumberQuestion)
    cases = sorted({one.case for one in judged})
    place = np.array([cases.index(one.case) for one in judged])
    draws = Draws(len(cases), n_resamples, seed)
    found = {}
    for name, figure in (_OF_NUMBERS if is_number else _OF_CHOICES).items():
        value = float(figure(judged, np.ones((1, len(judged))))[0])
        resampled = draws.over_rows(lambda weights, figure=figure: figure(judged, weights[:, place]))  # type: ignore[misc]
        low, high = percentile_interval([value], resampled[:, None], draws)
        found[name] = {"value": value, "low": low, "high": high}
    return found

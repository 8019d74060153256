"""Answers to typed questions: probabilities of everything that may be answered, and what is read off them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from predgen.distribution import Distribution, check_levels
from predgen.errors import ConfigError
from predgen.questions.kinds import Choice, NumberQuestion, Score, TypedQuestion, Value, YesNo

QUANTILES = (0.05, 0.5, 0.95)
"""Levels of the quantiles that an answer gives where none are asked for."""


@dataclass(frozen=True, slots=True)
class YesNoAnswer:
    """An answer to a yes/no question.

    Attributes:
        probability: P(yes).
    """

    probability: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {"type": "noul", "noul": self.probability}


@dataclass(frozen=True, slots=True)
class ChoiceAnswer:
    """An answer to a choice.

    Attributes:
        choice: The most probable option.
        confidence: max(0, (p_max - 1/n) / (1 - 1/n)): 0 where all n options are as probable, 1 where one is certain.
        probabilities: Option -> its probability, in the question's order.
    """

    choice: Value
    confidence: float
    probabilities: Mapping[Value, float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        told = {_key(option): p for option, p in self.probabilities.items()}
        return {"type": "choice", "choice": self.choice, "confidence": self.confidence, "probabilities": told}


@dataclass(frozen=True, slots=True)
class ScoreAnswer:
    """An answer in levels.

    Attributes:
        score: Expected level, sum_l l P(l); the lowest level is 0.
        level: The most probable level.
        confidence: max(0, 1 - E|l - level| / (the same of the middle level where all are as probable)).
        legend: The levels' texts, the lowest first.
        probabilities: P(l) of each level.
    """

    score: float
    level: int
    confidence: float
    legend: tuple[str, ...]
    probabilities: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "type": "score",
            "score": self.score,
            "legend": {str(i): text for i, text in enumerate(self.legend)},
            "confidence": self.confidence,
            "probabilities": {str(i): p for i, p in enumerate(self.probabilities)},
        }


@dataclass(frozen=True, slots=True)
class NumberAnswer:
    """An answer in numbers.

    Attributes:
        distribution: P(number) of the whole grid, exact; with mean, median, mode and quantiles.
    """

    distribution: Distribution

    @property
    def value(self) -> float:
        """The number that stands for all: the median, which is one of the grid."""
        return self.distribution.median()

    def interval(self, coverage: float) -> tuple[float, float]:
        """Return the central interval between two exact quantiles, which holds at least `coverage` of the probability.

        Raises:
            ConfigError: If `coverage` is not between 0 and 1.
        """
        if not 0 < coverage < 1:
            raise ConfigError(f"`coverage` is {coverage}, but must be between 0 and 1, e.g. 0.9.")
        outside = (1 - coverage) / 2
        return self.distribution.quantile(outside), self.distribution.quantile(1 - outside)

    def to_dict(self, quantiles: Sequence[float] = QUANTILES, coverage: float | None = None) -> dict[str, Any]:
        """Return plain JSON data.

        Args:
            quantiles: Levels, 0..1, of the quantiles to give.
            coverage: Probability of the interval to give; None: none is given.
        """
        check_levels(quantiles)
        numbers = self.distribution
        points = {"value": self.value, "mean": numbers.mean(), "median": numbers.median(), "mode": numbers.mode()}
        told = {"type": "number", **points, "quantiles": {str(level): numbers.quantile(level) for level in quantiles}}
        if coverage is not None:
            lower, upper = self.interval(coverage)
            told["interval"] = {"coverage": coverage, "lower": lower, "upper": upper}
        return told


TypedAnswer = YesNoAnswer | ChoiceAnswer | ScoreAnswer | NumberAnswer


def answer_to(question: TypedQuestion, probabilities: Sequence[float]) -> TypedAnswer:
    """Read an answer off the probabilities of everything that may be answered.

    Args:
        question: The question.
        probabilities: In the order of `kinds.answers_of`; they sum to 1.
    """
    told = np.asarray(probabilities, dtype=np.float64)
    if isinstance(question, YesNo):
        return YesNoAnswer(float(told[0]))
    if isinstance(question, NumberQuestion):
        return NumberAnswer(Distribution(np.array([float(n) for n in question.numbers]), told))
    best = int(told.argmax())
    if isinstance(question, Choice):
        values = [option.value for option in question.options]
        return ChoiceAnswer(values[best], choice_confidence(told), dict(zip(values, told.tolist(), strict=True)))
    assert isinstance(question, Score), "all kinds are known"
    levels = np.arange(len(told))
    legend = tuple(level.text for level in question.levels)
    return ScoreAnswer(float(levels @ told), best, score_confidence(told), legend, tuple(told.tolist()))


def choice_confidence(probabilities: Any) -> float:  # noqa: ANN401  (what numpy takes for numbers)
    """Return max(0, (p_max - 1/n) / (1 - 1/n)).

    Example:
        >>> choice_confidence([0.75, 0.25]), choice_confidence([0.5, 0.5])
        (0.5, 0.0)
    """
    told = np.asarray(probabilities, dtype=np.float64)
    even = 1 / len(told)
    return float(max(0.0, (told.max() - even) / (1 - even)))


def score_confidence(probabilities: Any) -> float:  # noqa: ANN401
    """Return max(0, 1 - E|l - best| / E_uniform|l - middle|), the middle being (n - 1) / 2.

    Example:
        >>> score_confidence([0.0, 1.0, 0.0]), score_confidence([0.5, 0.0, 0.5])
        (1.0, 0.0)
    """
    told = np.asarray(probabilities, dtype=np.float64)
    levels = np.arange(len(told))
    spread = told @ np.abs(levels - told.argmax())
    even = np.abs(levels - (len(told) - 1) / 2).mean()
    return float(max(0.0, 1 - spread / even))


def _key(option: Value) -> str:
    """An option as a key of JSON."""
    return str(option).lower() if isinstance(option, bool) else option

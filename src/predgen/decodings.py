"""Decodings: how a prediction is read off what a model can write. `registries.decodings` is the one table of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from predgen import registries
from predgen.components import NO_SETTINGS, value_of
from predgen.distribution import Distribution


@dataclass(frozen=True, slots=True)
class DecodingRule:
    """A decoding.

    Attributes:
        reads: What a model has to have: "writing" (the answer it writes token by token), "answers" (the probabilities of all
            its answers), "numbers" (those of numbers), or "text" (what it writes where nothing constrains it).
        point: The number that stands for a distribution of numbers; None for "writing" and "text".
        by_metric: Stands for the decoding that the run's metric rewards.
    """

    reads: Literal["writing", "answers", "numbers", "text"]
    point: Callable[[Distribution], float] | None = None
    by_metric: bool = False


GREEDY = DecodingRule("writing")
ARGMAX = DecodingRule("answers", Distribution.mode)
MEAN_NUMBER = DecodingRule("numbers", Distribution.mean)
MEDIAN_NUMBER = DecodingRule("numbers", Distribution.median)
BEST = DecodingRule("numbers", by_metric=True)
FREE = DecodingRule("text")


def rule_of(name: str, own: Mapping[str, Any] = NO_SETTINGS) -> DecodingRule:
    """Return the decoding of a name, made from its own settings where it has any."""
    rule: DecodingRule = value_of(registries.decodings, name, own)
    return rule

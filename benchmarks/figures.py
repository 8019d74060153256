"""Measured figures: a median between its quartiles, and a pair of variants with their ratio."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and the quartiles around it."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Summarise measurements; a single one is its own spread."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(low, median, high)

    def inverted(self) -> "Spread":
        """The spread of 1 / x."""
        return Spread(1 / self.high, 1 / self.median, 1 / self.low)


@dataclass(frozen=True, slots=True)
class Figures:
    """Ours beside a peer.

    Attributes:
        ours: What ours took, in `unit`.
        peer: What the peer took, in `unit`.
        cost: ours / peer of each round: what disturbs a whole round cancels out.
        unit: "s" or "MiB".
        rounds: How often each was measured.
        notes: Further figures worth reporting, such as row counts.
    """

    ours: Spread
    peer: Spread
    cost: Spread
    unit: str
    rounds: int
    notes: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, ours: Sequence[float], peer: Sequence[float], unit: str, **notes: float) -> "Figures":
        """Summarise rounds in which both were measured."""
        cost = [mine / theirs for mine, theirs in zip(ours, peer, strict=True)]
        return cls(Spread.of(ours), Spread.of(peer), Spread.of(cost), unit, len(cost), dict(notes))

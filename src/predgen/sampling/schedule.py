"""How the probability p of feeding the model its own tokens grows with the optimizer steps."""

import math
from collections.abc import Callable
from dataclasses import dataclass

Schedule = Callable[[float], float]
"""Share of the way, 0..1 -> share of the rise from p_min to p_max, 0..1."""


def linear(progress: float) -> float:
    """Even growth: the paper's schedule (PredGen section 4)."""
    return progress


def exponential(progress: float) -> float:
    """1 - k^x, scaled to reach 1: gold tokens fade exponentially (Bengio et al. 2015, section 2.4).

    Differs: Bengio's k^i never reaches 0; here the decay is e^-5 at the end and rescaled, so that p_max is reached.
    """
    return (1 - math.exp(-5 * progress)) / (1 - math.exp(-5))


def inverse_sigmoid(progress: float) -> float:
    """Slow, fast, slow: 1 - k / (k + e^(x/k)) (Bengio et al. 2015, section 2.4), rescaled to run from 0 to 1."""
    low, high = 1 / (1 + math.exp(5)), 1 / (1 + math.exp(-5))
    return (1 / (1 + math.exp(-10 * (progress - 0.5))) - low) / (high - low)


@dataclass(frozen=True, slots=True)
class SamplingSchedule:
    """p(s) = p_min + (p_max - p_min) * rise(min(1, s / max_steps)), s in optimizer steps (docs/methods.md, scheduled sampling).

    Example:
        >>> SamplingSchedule(linear, p_min=0.0, p_max=1.0, max_steps=500).probability(250)
        0.5
    """

    rise: Schedule
    p_min: float
    p_max: float
    max_steps: int

    def probability(self, optimizer_step: int) -> float:
        """Return p at an optimizer step, counted from 0."""
        progress = min(1.0, optimizer_step / self.max_steps)
        return self.p_min + (self.p_max - self.p_min) * self.rise(progress)

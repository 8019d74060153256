"""Random draws that depend on (seed, epoch, row) alone: batch split, ranks and resume cannot change them."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

# Doubles above 1 - 2^-25 round to 1.0f, which is not below p = 1: a gold token would be fed.
_BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))


@dataclass(frozen=True, slots=True)
class SamplingPlan:
    """What scheduled sampling needs to know about the moment.

    Attributes:
        probability: p, the chance of feeding an own token, 0..1.
        seed: The run's seed.
        epoch: Passes over the data completed so far.
    """

    probability: float
    seed: int
    epoch: int

    def uniforms(self, row_id: Int[Tensor, " B"], width: int) -> Float[Tensor, "B T"]:
        """Uniform numbers in [0, 1), `width` per row, from a counter-based generator (Philox)."""
        rows = [
            np.random.Generator(np.random.Philox(key=[self.seed, self.epoch], counter=[0, row, 0, 0])).random(width)
            for row in row_id.tolist()
        ]
        single = np.minimum(np.stack(rows).astype(np.float32), _BELOW_ONE)
        return torch.from_numpy(single).to(row_id.device)

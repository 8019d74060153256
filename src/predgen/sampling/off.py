"""Mode `off`: teacher forcing."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from predgen.sampling.base import SamplingMode
from predgen.sampling.draws import SamplingPlan


class Off(SamplingMode):
    """Gold tokens are fed, whatever p is. The director then sees the gold answer in its input (docs/methods.md, scheduled sampling)."""

    def own(self, plan: SamplingPlan, row_id: Int[Tensor, " B"], width: int) -> Bool[Tensor, "B T"]:
        return torch.zeros((len(row_id), width), dtype=torch.bool, device=row_id.device)

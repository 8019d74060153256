"""Which positions of an answer are fed the model's own token instead of the gold one (SPEC 2.1)."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from predgen.sampling.draws import SamplingPlan


def own_nowhere(plan: SamplingPlan, row_id: Int[Tensor, " B"], width: int) -> Bool[Tensor, "B T"]:
    """Mode `off`: teacher forcing. The director then sees the gold answer in its input (SPEC 2.1)."""
    return torch.zeros((len(row_id), width), dtype=torch.bool, device=row_id.device)


def own_by_sequence(plan: SamplingPlan, row_id: Int[Tensor, " B"], width: int) -> Bool[Tensor, "B T"]:
    """Mode `sequence`: with probability p a row is fed its whole greedy answer, else gold (PredGen, section 6)."""
    return (plan.uniforms(row_id, 1) < plan.probability).expand(-1, width)


def own_by_token(plan: SamplingPlan, row_id: Int[Tensor, " B"], width: int) -> Bool[Tensor, "B T"]:
    """Mode `token`: with probability p, drawn anew for each token (Bengio et al. 2015, section 2.4)."""
    return plan.uniforms(row_id, width) < plan.probability

"""Mode `sequence`: a row is fed its whole own answer, or gold."""

from jaxtyping import Bool, Int
from torch import Tensor

from predgen.sampling.base import SamplingMode
from predgen.sampling.draws import SamplingPlan


class BySequence(SamplingMode):
    """With probability p a row is fed its whole greedy answer, else gold (PredGen, section 6)."""

    def own(self, plan: SamplingPlan, row_id: Int[Tensor, " B"], width: int) -> Bool[Tensor, "B T"]:
        return (plan.uniforms(row_id, 1) < plan.probability).expand(-1, width)

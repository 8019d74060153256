"""Mode `token`: each token is the model's own, or gold."""

from jaxtyping import Bool, Int
from torch import Tensor

from predgen.sampling.base import SamplingMode
from predgen.sampling.draws import SamplingPlan


class ByToken(SamplingMode):
    """With probability p a token is the model's own, drawn anew for each (Bengio et al. 2015, section 2.4)."""

    def own(self, plan: SamplingPlan, row_id: Int[Tensor, " B"], width: int) -> Bool[Tensor, "B T"]:
        return plan.uniforms(row_id, width) < plan.probability

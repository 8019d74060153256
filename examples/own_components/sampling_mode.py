"""Sampling mode `after_gold`: per token, but the first tokens of an answer are always gold."""

from dataclasses import dataclass

from jaxtyping import Bool, Int
from torch import Tensor

from predgen.registries import sampling
from predgen.sampling.base import SamplingSetup
from predgen.sampling.by_token import ByToken
from predgen.sampling.draws import SamplingPlan
from predgen.sampling.settings import SampledSettings
from predgen.settings import setting


@dataclass(frozen=True)
class AfterGoldSettings(SampledSettings):
    """Settings of mode `after_gold`: schedule and probabilities are those of the other modes."""

    gold_tokens: int = setting(1, "Sampling 'after_gold': first tokens of an answer that are never its own.", low=0)


class AfterGold(ByToken):
    """With probability p a token is the model's own, the first ones never."""

    def __init__(self, setup: SamplingSetup, settings: AfterGoldSettings) -> None:
        super().__init__(setup, settings)
        self.gold_tokens = settings.gold_tokens

    def own(self, plan: SamplingPlan, row_id: Int[Tensor, " B"], width: int) -> Bool[Tensor, "B T"]:
        """Where the model is fed its own token."""
        own = super().own(plan, row_id, width).clone()
        own[:, : self.gold_tokens] = False
        return own


sampling.register(
    "after_gold", f"{__name__}:AfterGold", "per token behind the first ones, which are gold", settings=AfterGoldSettings
)

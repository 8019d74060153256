"""Predictor: the baseline with a linear head on a pooled prompt state."""

from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from predgen.codecs.base import Codec
from predgen.codecs.trie import Trie
from predgen.core import Decoding, Prediction
from predgen.data.collate import Batch
from predgen.directors.heads import Head
from predgen.engine.answer_pass import last_position
from predgen.engine.backbone import finite
from predgen.engine.forest import Answers, Grove
from predgen.engine.prompt_pass import SharedPrefix
from predgen.models.answers import directed
from predgen.models.base import (
    PLAIN,
    ModelSetup,
    PredictionModel,
    Reduction,
    RowLosses,
    full_precision,
    label_predictions,
)
from predgen.sampling.draws import SamplingPlan


def pool(states: Float[Tensor, "B P H"], mask: Bool[Tensor, "B P"], how: str) -> Float[Tensor, "B H"]:
    """Pool prompt states, whatever the padding side: the last real token, the mean over real ones, or the first.

    "first" exists because the paper names it: a causal model has seen one token there.
    """
    rows = torch.arange(len(states), device=states.device)
    if how == "last":
        return states[rows, last_position(mask)].float()
    if how == "first":
        return states[rows, mask.long().argmax(dim=1)].float()
    kept = torch.where(mask[..., None], states.float(), 0.0)
    return kept.sum(dim=1) / mask.sum(dim=1, keepdim=True)


class Predictor(PredictionModel):
    """Linear(H, K or 1) on the pooled state; cross-entropy, or squared error of the standardised target (docs/methods.md)."""

    needs_codec: ClassVar[bool] = False

    def __init__(self, setup: ModelSetup, lm: Any, codec: Codec | None) -> None:  # noqa: ANN401
        super().__init__(setup, lm, codec)
        self.head = Head(self.backbone.hidden_size, len(setup.labels) or 1, setup.own.head_norm)
        self._in_forest = Answers(Trie([(1,), (2,)], stop=0), None)  # nothing is written: no node of it is run

    def forward(self, batch: Batch, plan: SamplingPlan, reduction: Reduction) -> RowLosses:
        output = self._output(batch)
        if self.setup.labels:
            losses = functional.cross_entropy(output, batch.target.long(), reduction="none")
        else:
            losses = (output.squeeze(-1) - batch.target).square()
        return RowLosses((batch.weight * losses).sum(), None, losses.detach())

    @torch.no_grad()
    def predict(self, batch: Batch, decoding: Decoding = PLAIN, prefix: SharedPrefix | None = None) -> list[Prediction]:
        return self._stated(self._output(batch, prefix))

    def answers_in_forest(self, decoding: Decoding) -> Answers | None:
        # Of a question's own tokens a forest has the states; those of the prompt are the same for all.
        return self._in_forest if self.setup.own.pooling == "last" else None

    @torch.no_grad()
    def predict_in_forest(self, grove: Grove, decoding: Decoding) -> list[Prediction]:
        with full_precision(grove.nodes.tail.device):
            return self._stated(self.head(grove.nodes.tail[:, 0].float()))

    def _stated(self, output: Float[Tensor, "B K"]) -> list[Prediction]:
        """What the head says."""
        rows = finite(output).cpu()
        if self.setup.labels:
            return label_predictions(self.setup.labels, rows, self.temperature)
        return [directed(Prediction(None), value, self.scale) for value in rows[:, 0].tolist()]

    def _output(self, batch: Batch, prefix: SharedPrefix | None = None) -> Float[Tensor, "B K"]:
        """Class logits, or the standardised number as a column."""
        states, mask = self.prompt_states(batch, prefix)
        with full_precision(states.device):
            output: Tensor = self.head(pool(states, mask, self.setup.own.pooling))
        return output

"""Generator: the baseline that is fine-tuned to write the answer, and whose answer is the prediction."""

import torch

from predgen.codecs.trie import Trie
from predgen.core import Prediction
from predgen.data.collate import Batch
from predgen.engine.sequential import answer_log_probs
from predgen.losses.token_nll import writer_loss
from predgen.models.base import Reduction, RowLosses, label_prediction
from predgen.models.writer import WritingModel, feed_gold
from predgen.sampling.draws import SamplingPlan


class Generator(WritingModel):
    """P(Y|X) = prod_t P(y_t | X, y_<t), trained by L_W with gold tokens fed (SPEC 2).

    Classes are predicted by the exact P(a|X) of every label, numbers and math answers by greedy constrained writing.
    """

    def forward(self, batch: Batch, plan: SamplingPlan, reduction: Reduction) -> RowLosses:
        reading = self.read(batch, feed_gold(batch))
        writer = writer_loss(reading.nll, reading.scored)
        return RowLosses((batch.weight * writer).sum(), writer.detach(), None)

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Prediction]:
        space = self.written_by.space
        if not self.setup.labels:
            return self.read_back(self.write(batch))
        assert isinstance(space, Trie), "labels are spelled by a trie"
        log_probs = answer_log_probs(self.backbone, batch.prompt_ids, batch.prompt_mask, space)
        predictions = [label_prediction(self.setup.labels, row, None) for row in log_probs.exp().cpu()]
        return [Prediction(p.value, p.probabilities, str(p.value), p.flags) for p in predictions]

"""Generator: the baseline that is fine-tuned to write the answer, and whose answer is the prediction."""

from predgen.data.collate import Batch
from predgen.losses.token_nll import writer_loss
from predgen.models.base import Reduction, RowLosses
from predgen.models.writer import WritingModel
from predgen.sampling.draws import SamplingPlan
from predgen.sampling.feeding import feed_gold


class Generator(WritingModel):
    """P(Y|X) = prod_t P(y_t | X, y_<t), trained by L_W with gold tokens fed (docs/methods.md).

    Labels and numbers are predicted by the argmax of the exact P(a|X), math answers by greedy constrained writing.
    """

    def forward(self, batch: Batch, plan: SamplingPlan, reduction: Reduction) -> RowLosses:
        reading = self.read(batch, feed_gold(batch, self.run_once(batch, again=False)))
        writer = writer_loss(reading.nll, reading.scored)
        return RowLosses((batch.weight * writer).sum(), writer.detach(), None)

"""PredGen: writes the answer, and lets a director read the states of the tokens it wrote itself."""

from typing import Any

import torch
from torch import Tensor

from predgen import registries
from predgen.codecs.base import Codec
from predgen.core import Prediction
from predgen.data.collate import Batch
from predgen.directors.base import Director, DirectorInput, DirectorSetup
from predgen.engine.sequential import GoldFeed, write
from predgen.losses.base import JointLoss
from predgen.losses.token_nll import writer_loss
from predgen.models.base import ModelSetup, Reduction, RowLosses, full_precision, joined, label_prediction
from predgen.models.writer import Fed, WritingModel, feed_gold, feed_written
from predgen.sampling.draws import SamplingPlan


class PredGen(WritingModel):
    """Writer, director, scheduled sampling and joint loss (SPEC 2; Kowsher et al. 2025, arXiv:2502.17817)."""

    def __init__(self, setup: ModelSetup, lm: Any, codec: Codec | None) -> None:  # noqa: ANN401
        super().__init__(setup, lm, codec)
        director_setup = DirectorSetup(
            self.backbone.hidden_size,
            len(setup.labels),
            setup.target_mean,
            setup.target_std,
            setup.ordered_last_weight,
        )
        self.director: Director = registries.directors.get(setup.director)(director_setup)
        self.joint: JointLoss = registries.losses.get(setup.loss)()

    def forward(self, batch: Batch, plan: SamplingPlan, reduction: Reduction) -> RowLosses:
        reading = self.read(batch, self.feed(batch, plan))
        writer = writer_loss(reading.nll, reading.scored)
        with full_precision(reading.states.device):
            seen = DirectorInput(
                reading.states.float(), reading.content, reading.nll, reading.scored, batch.weighed, batch.target
            )
            return joined(self.joint, writer, self.director.loss(seen), batch.weight, reduction)

    def feed(self, batch: Batch, plan: SamplingPlan) -> Fed:
        """Decide by scheduled sampling what to feed, writing own tokens only in rows that need one."""
        use_own: Tensor = registries.sampling.get(self.setup.sampling)(plan, batch.row_id, batch.answer_ids.shape[1])
        rows = (use_own & batch.answer_mask).any(dim=1).nonzero().flatten()
        if len(rows) == 0:
            return feed_gold(batch)
        some = batch.rows(rows)
        codec = self.written_by
        gold = GoldFeed(some.answer_ids, some.answer_mask, use_own[rows])
        written = write(self.backbone, some.prompt_ids, some.prompt_mask, codec.space, codec.max_tokens, gold=gold)
        return feed_written(batch, rows, written, codec.space)

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Prediction]:
        written = self.write(batch)
        stated = self.read_back(written)
        if not self.director.has_head:
            return stated
        output = self.director.output(written.states.float(), written.mask).cpu()
        if self.setup.labels:
            rows = [label_prediction(self.setup.labels, row, None) for row in output.softmax(dim=1)]
            return [Prediction(r.value, r.probabilities, s.answer, s.flags) for r, s in zip(rows, stated, strict=True)]
        values = output[:, 0].tolist()
        return [Prediction(v, None, s.answer, s.flags) for v, s in zip(values, stated, strict=True)]

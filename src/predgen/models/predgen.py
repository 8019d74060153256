"""PredGen: writes the answer, and lets a director read the states of the tokens it wrote itself."""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from predgen import registries
from predgen.codecs.base import Codec
from predgen.core import Decoding, Prediction
from predgen.data.collate import Batch
from predgen.directors.base import Director, DirectorInput, DirectorSetup
from predgen.engine.answer_tree import AnswerTree
from predgen.engine.backbone import finite
from predgen.engine.prompt_pass import CachedPrompts, SharedPrefix
from predgen.errors import ConfigError
from predgen.losses.base import JointLoss
from predgen.losses.token_nll import writer_loss
from predgen.models.answers import directed, with_numbers
from predgen.models.base import PLAIN, ModelSetup, Reduction, RowLosses, full_precision, joined, label_prediction
from predgen.models.writer import WritingModel
from predgen.sampling.base import SamplingMode, SamplingSetup
from predgen.sampling.draws import SamplingPlan
from predgen.sampling.feeding import Fed, Reading


class PredGen(WritingModel):
    """Writer, director, scheduled sampling and joint loss (docs/methods.md; Kowsher et al. 2025, arXiv:2502.17817)."""

    def __init__(self, setup: ModelSetup, lm: Any, codec: Codec | None) -> None:  # noqa: ANN401
        super().__init__(setup, lm, codec)
        mode = setup.component(registries.sampling)
        self.mode: SamplingMode = mode.make(SamplingSetup(mode.name, setup.kind))
        self.mode.check_model(self, self.max_tree_nodes)
        director_setup = DirectorSetup(self.backbone.hidden_size, len(setup.labels), target_mean=0.0, target_std=1.0)
        self.director: Director = setup.component(registries.directors).make(director_setup)
        if self.director.reads_distribution and self.tree is None:
            raise ConfigError(
                f"director {setup.component(registries.directors).name!r} reads the probabilities of all numbers in one pass,"
                f" but they need more than `max_tree_nodes` {self.max_tree_nodes} nodes. Lower `decimals`, or raise"
                " `max_tree_nodes`."
            )
        self.joint: JointLoss = setup.component(registries.losses).make()

    @property
    def own_decoding(self) -> str:
        return "director" if self.director.has_head else self.director.decoding

    def answer_nodes(self, decoding: Decoding = PLAIN) -> int:
        nodes = super().answer_nodes(decoding)
        return nodes if self.tree is None else max(nodes, self.mode.nodes(self.tree))

    def forward(self, batch: Batch, plan: SamplingPlan, reduction: Reduction) -> RowLosses:
        fed = self.mode.write(self, batch, plan)  # Y: gold tokens, and the model's own
        reading = self.mode.read(self, batch, fed)  # Z = LM(X, Y)
        seen = self._seen(batch, reading)
        with full_precision(batch.target.device):
            writer = writer_loss(reading.nll, reading.scored)  # L_W
            director = self.mode.director_loss(self.director, seen, reading)  # L_D
            return joined(self.joint, writer, director, batch.weight, reduction)

    def run_once(self, batch: Batch, *, again: bool) -> CachedPrompts | None:
        return super().run_once(batch, again=again or self.director.reads_distribution)

    def read(self, batch: Batch, fed: Fed) -> Reading:
        """Run fed answers behind their prompts, and score all answers for a director that reads their probabilities."""
        scores = self.score(batch, prompts=fed.prompts) if self.director.reads_distribution else None
        return replace(super().read(batch, fed), scores=scores)

    def _seen(self, batch: Batch, reading: Reading) -> DirectorInput:
        """What the director sees."""
        seen = DirectorInput(
            reading.states.float(), reading.content, reading.nll, reading.scored, batch.weighed, batch.target
        )
        if not self.director.reads_distribution:
            return seen
        assert reading.scores is not None, "`read` scores all answers"
        return replace(seen, log_probs=reading.scores.log_probs, values=self._numbers(batch))

    def _numbers(self, batch: Batch) -> Float[Tensor, " A"]:
        """The grid's numbers, standardised before they become float32."""
        standardised = (self.number_codec.grid - self.scale.mean) / self.scale.std
        return torch.tensor(standardised, dtype=torch.float32, device=batch.target.device)

    def path_forwards(self, tree: AnswerTree) -> int:
        if self.mode.runs_all_answers:
            return 1 + tree.n_nodes
        read = self.written_by.max_tokens - 1 - len(tree.head) if self.own_decoding == "director" else 0
        return min(1 + tree.n_nodes, super().path_forwards(tree) + read)

    def stated(self, batch: Batch, how: str, decoding: Decoding, prefix: SharedPrefix | None) -> list[Prediction]:
        if how != "director":
            return super().stated(batch, how, decoding, prefix)
        if self.tree is None:
            written = self.written(batch, prefix)
            stated = self.read_back(written)
            if decoding.distribution:
                numbers = self.expanded(batch, decoding, prefix)
                stated = [with_numbers(p, d, gives=True) for p, d in zip(stated, numbers, strict=True)]
            return self._directed(stated, self.director.output(written.states.float(), written.mask))
        everything = self.mode.runs_all_answers or decoding.full_vocabulary
        scores = self.score(batch, everything=everything, prefix=prefix)
        stated = self.read_scores(scores, "greedy", decoding)
        return self._directed(stated, self.mode.output(self.director, scores))

    def _directed(self, stated: list[Prediction], output: Float[Tensor, "B K"]) -> list[Prediction]:
        """Put the director's word in the place of the writer's; a distribution of numbers moves to it."""
        rows = finite(output).cpu()
        if not self.setup.labels:
            return [directed(p, number, self.scale) for p, number in zip(stated, rows[:, 0].tolist(), strict=True)]
        read = [label_prediction(self.setup.labels, row, None) for row in rows.softmax(dim=1)]
        return [replace(p, value=r.value, probabilities=r.probabilities) for p, r in zip(stated, read, strict=True)]

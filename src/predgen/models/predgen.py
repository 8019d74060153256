"""PredGen: writes the answer, and lets a director read the states of the tokens it wrote itself."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from predgen import registries
from predgen.codecs.base import Codec
from predgen.codecs.number import NumberCodec
from predgen.core import Decoding, Prediction
from predgen.data.collate import Batch
from predgen.decodings import rule_of
from predgen.directors.base import Director, DirectorInput, DirectorSetup
from predgen.engine.answer_tree import AnswerTree
from predgen.engine.backbone import finite
from predgen.engine.prompt_pass import CachedPrompts, SharedPrefix
from predgen.engine.scores import AnswerScores
from predgen.errors import ConfigError
from predgen.losses.base import JointLoss
from predgen.losses.token_nll import writer_loss
from predgen.models.answers import corrected, directed, read_off, with_numbers
from predgen.models.base import PLAIN, ModelSetup, Reduction, RowLosses, full_precision, joined, label_predictions
from predgen.models.settings import PredGenSettings
from predgen.models.writer import DIRECTOR, WritingModel, exact_probabilities
from predgen.sampling.base import SamplingMode, SamplingSetup
from predgen.sampling.draws import SamplingPlan
from predgen.sampling.feeding import Fed, Reading


class PredGen(WritingModel):
    """Writer, director, scheduled sampling and joint loss (docs/methods.md; Kowsher et al. 2025, arXiv:2502.17817)."""

    def __init__(self, setup: ModelSetup, lm: Any, codec: Codec | None) -> None:  # noqa: ANN401
        super().__init__(setup, lm, codec)
        self.setup = setup = setup.settled(has_tree=self.tree is not None and self.obstacle is None)
        mode = setup.component(registries.sampling)
        self.mode: SamplingMode = mode.make(SamplingSetup(mode.name, setup.kind))
        self.mode.check_model(self, self.max_tree_nodes)
        self.director: Director = setup.component(registries.directors).make(self._director_setup())
        if self.director.reads_distribution and self.tree is None:
            raise ConfigError(
                f"director {setup.component(registries.directors).name!r} reads the probabilities of all numbers in one pass,"
                f" but they need more than `max_tree_nodes` {self.max_tree_nodes} nodes. Lower `decimals`, or raise"
                " `max_tree_nodes`."
            )
        self.joint: JointLoss = setup.component(registries.losses).make()

    def _director_setup(self) -> DirectorSetup:
        """What the director is built from."""
        grid = isinstance(self.codec, NumberCodec) and self.tree is not None
        values = tuple(self._standardised_grid().tolist()) if grid else ()
        own: PredGenSettings = self.setup.own
        return DirectorSetup(self.backbone.hidden_size, len(self.setup.labels), 0.0, 1.0, own.head_norm, values)

    @property
    def is_ordered(self) -> bool:
        return bool(self.setup.labels) and self.director.is_ordered

    @property
    def own_decoding(self) -> str:
        return DIRECTOR if self.director.has_head else self.director.decoding

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
        reading = replace(
            super().read(batch, fed), scores=scores
        )  # in this order: gradients are summed in another otherwise
        if scores is None or not self.director.reads_own:
            return reading
        states, content = scores.content_states(scores.greedy())
        return replace(reading, states=states, content=content)

    def _seen(self, batch: Batch, reading: Reading) -> DirectorInput:
        """What the director sees."""
        seen = DirectorInput(
            reading.states.float(), reading.content, reading.nll, reading.scored, batch.weighed, batch.target
        )
        if not self.director.reads_distribution:
            return seen
        assert reading.scores is not None, "`read` scores all answers"
        return replace(
            seen,
            log_probs=reading.scores.log_probs,
            values=None if self.setup.labels else self._numbers(batch.target.device),
            answer=batch.answer,
            prompt=reading.scores.prompt_states.float(),
        )

    def _standardised_grid(self) -> npt.NDArray[np.float64]:
        """The grid's numbers in standard deviations, as float64."""
        standardised: npt.NDArray[np.float64] = (self.number_codec.grid - self.scale.mean) / self.scale.std
        return standardised

    def _numbers(self, device: torch.device) -> Float[Tensor, " A"]:
        """The grid's numbers, standardised before they become float32."""
        return torch.tensor(self._standardised_grid(), dtype=torch.float32, device=device)

    def path_forwards(self, tree: AnswerTree) -> int:
        if self.mode.runs_all_answers:
            return 1 + tree.n_nodes
        read = self.written_by.max_tokens - 1 - len(tree.head) if self.own_decoding == DIRECTOR else 0
        return min(1 + tree.n_nodes, super().path_forwards(tree) + read)

    def stated(self, batch: Batch, how: str, decoding: Decoding, prefix: SharedPrefix | None) -> list[Prediction]:
        """Predictions read off what the model says: a head's word and the writer's, brought together.

        "Greedy" asks for the written answer, and gives the writer's probabilities with it. All else is read off the one
        predictive distribution, which a head has moved.
        """
        if self.tree is not None or not self._speaks(how, decoding):
            return super().stated(batch, how, decoding, prefix)
        asked = self._for_head(how, decoding)
        written = self.written(batch, prefix)
        stated = self.read_back(written)
        if asked.distribution:
            numbers = self.expanded(batch, asked, prefix)
            stated = [with_numbers(p, d, gives=True) for p, d in zip(stated, numbers, strict=True)]
        found = self._directed(stated, self.director.output(written.states.float(), written.mask))
        return self._read_off(found, how, decoding)

    def stated_on(self, scores: AnswerScores, how: str, decoding: Decoding) -> list[Prediction]:
        if not self._speaks(how, decoding):
            return super().stated_on(scores, how, decoding)
        stated = self.read_scores(scores, "greedy", self._for_head(how, decoding))
        output = self.mode.output(self.director, scores)
        corrects = self.director.reads_distribution
        found = self._corrected(stated, output, scores) if corrects else self._directed(stated, output)
        return self._read_off(found, how, decoding)

    def runs_everything(self, decoding: Decoding) -> bool:
        speaks = self._speaks(decoding.how or self.own_decoding, decoding)
        return (speaks and self.mode.runs_all_answers) or super().runs_everything(decoding)

    def _speaks(self, how: str, decoding: Decoding) -> bool:
        """Whether a head has a word in what a decoding reads."""
        return self.director.has_head and (how == DIRECTOR or rule_of(how, decoding.own).reads != "writing")

    def _for_head(self, how: str, decoding: Decoding) -> Decoding:
        """What is asked for, with the distribution where another point of it than the head's is to be read."""
        return decoding if how == DIRECTOR or self.setup.labels else replace(decoding, distribution=True)

    def _read_off(self, found: list[Prediction], how: str, decoding: Decoding) -> list[Prediction]:
        """The point that a decoding reads, off distributions that a head has moved."""
        if how == DIRECTOR or self.setup.labels:
            return found
        rule = rule_of(how, decoding.own)
        return [read_off(p, rule, self.number_codec, self.scale, gives=decoding.distribution) for p in found]

    def _directed(self, stated: list[Prediction], output: Float[Tensor, "B K"]) -> list[Prediction]:
        """Put the director's word in the place of the writer's; a distribution of numbers moves to it."""
        rows = finite(output).cpu()
        if not self.setup.labels:
            return [directed(p, number, self.scale) for p, number in zip(stated, rows[:, 0].tolist(), strict=True)]
        read = label_predictions(self.setup.labels, rows, self.temperature)
        told = zip(stated, read, strict=True)
        return [replace(r, answer=p.answer, flags=p.flags, legal_mass=p.legal_mass) for p, r in told]

    def _corrected(
        self, stated: list[Prediction], output: Float[Tensor, "B K"], scores: AnswerScores
    ) -> list[Prediction]:
        """As `_directed`, for a director that corrects the distribution: where it has nothing to correct, to the bit that."""
        if self.setup.labels:
            exact = exact_probabilities(finite(output), self.temperature)
            named = [self.setup.labels[index] for index in output.argmax(dim=1).tolist()]
            told = zip(stated, named, exact.tolist(), strict=True)
            at = self.temperature
            return [replace(p, value=label, probabilities=tuple(row), temperature=at) for p, label, row in told]
        base = scores.log_probs.exp() @ self._numbers(output.device)  # as the director computes it
        corrections = (finite(output)[:, 0] - base).double().tolist()
        exact = exact_probabilities(scores.log_probs)
        told = zip(stated, exact.numpy(), corrections, strict=True)
        return [corrected(p, row, number, self.number_codec, self.scale) for p, row, number in told]

"""PredGen: writes the answer, and lets a director read the states of the tokens it wrote itself."""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from predgen import registries
from predgen.codecs.base import Codec
from predgen.core import Decoding, Prediction
from predgen.data.collate import Batch
from predgen.directors.base import Director, DirectorInput, DirectorSetup
from predgen.engine.backbone import eval_state
from predgen.engine.parallel import write_in_parallel
from predgen.engine.prompt_pass import CachedPrompts, SharedPrefix, run_prompts
from predgen.engine.scores import AnswerScores
from predgen.engine.tree_pass import TreePass
from predgen.engine.walk import GoldFeed
from predgen.errors import ConfigError
from predgen.losses.base import JointLoss
from predgen.losses.token_nll import token_nll, writer_loss
from predgen.models.answers import beside, directed
from predgen.models.base import PLAIN, ModelSetup, Reduction, RowLosses, full_precision, joined, label_prediction
from predgen.models.feeding import feed_gold, feed_written
from predgen.models.marginal import marginal_loss, marginal_output
from predgen.models.writer import Reading, WritingModel
from predgen.sampling.draws import SamplingPlan


class PredGen(WritingModel):
    """Writer, director, scheduled sampling and joint loss (SPEC 2; Kowsher et al. 2025, arXiv:2502.17817)."""

    def __init__(self, setup: ModelSetup, lm: Any, codec: Codec | None) -> None:  # noqa: ANN401
        super().__init__(setup, lm, codec)
        self._require_nodes()
        director_setup = DirectorSetup(
            self.backbone.hidden_size,
            len(setup.labels),
            target_mean=0.0,
            target_std=1.0,
            ordered_last_weight=setup.ordered_last_weight,
        )
        self.director: Director = registries.directors.get(setup.director)(director_setup)
        self.joint: JointLoss = registries.losses.get(setup.loss)()

    def _require_nodes(self) -> None:
        """Refuse what needs more trie nodes in one pass, or another base model, than there is.

        Raises:
            ConfigError: With a setting that helps.
        """
        setup, limit = self.setup, self.setup.max_tree_nodes
        if self.is_marginal and (self.tree is None or self.tree.n_nodes > limit):
            other = "" if setup.labels else " Director 'expected' needs about a tenth of the nodes;"
            raise ConfigError(
                f"`sampling` 'marginal' runs every answer's tokens in one pass, but they are more than `max_tree_nodes`"
                f" {limit}.{other} or lower `decimals`, raise `max_tree_nodes`, or use `sampling` 'token'."
            )
        if registries.directors.get(setup.director).reads_distribution and self.tree is None:
            raise ConfigError(
                f"director {setup.director!r} reads the probabilities of all numbers in one pass, but they need more than"
                f" `max_tree_nodes` {limit} nodes. Lower `decimals`, or raise `max_tree_nodes`."
            )
        if setup.sampling == "parallel" and self.obstacle is not None:
            raise ConfigError(
                f"`sampling` 'parallel' needs a base model that can go on from a copied cache ({self.obstacle}); use 'token'."
            )

    @property
    def is_marginal(self) -> bool:
        """Whether the director is averaged over all answers instead of reading one."""
        return self.setup.sampling == "marginal"

    @property
    def own_decoding(self) -> str:
        return "director" if self.director.has_head else self.director.decoding

    def answer_nodes(self, decoding: Decoding = PLAIN) -> int:
        return self.tree.n_nodes if self.is_marginal and self.tree is not None else super().answer_nodes(decoding)

    def forward(self, batch: Batch, plan: SamplingPlan, reduction: Reduction) -> RowLosses:
        if self.is_marginal:
            return self._marginal_losses(batch, reduction)
        use_own: Tensor = registries.sampling.get(self.setup.sampling)(plan, batch.row_id, batch.answer_ids.shape[1])
        rows = (use_own & batch.answer_mask).any(dim=1).nonzero().flatten()
        prompts = self._prompts(batch, rows)
        scores = None
        if self.director.reads_distribution:
            scores = self.score(batch) if prompts is None else self._scores_on(prompts)
        fed = feed_gold(batch)
        if len(rows):
            some = batch.rows(rows)
            gold = GoldFeed(some.answer_ids, some.answer_mask, use_own[rows])
            fed = feed_written(batch, rows, *self._written(some, gold, rows, prompts), self.written_by.space)
        return self._join(batch, self.read(batch, fed, prompts), scores, reduction)

    def _prompts(self, batch: Batch, rows: Int[Tensor, " S"]) -> CachedPrompts | None:
        """The batch's prompts, run once for all that follows; None where one pass over prompt and answer does it all."""
        is_read_again = len(rows) > 0 or self.director.reads_distribution
        if not is_read_again or self.obstacle is not None or self.backbone.drops_caches:
            return None
        head = self.tree.head if self.tree is not None else ()
        return run_prompts(self.backbone, batch.prompt_ids, batch.prompt_mask, head)

    def _scores_on(self, prompts: CachedPrompts) -> AnswerScores:
        """All answers behind cached prompts."""
        assert self.tree is not None, "answers fit into one pass"
        return AnswerScores(self.backbone, TreePass(self.backbone, prompts), self.tree)

    @torch.no_grad()
    def _written(
        self, some: Batch, gold: GoldFeed, rows: Int[Tensor, " S"], prompts: CachedPrompts | None
    ) -> tuple[Int[Tensor, "S C"], Bool[Tensor, "S C"]]:
        """What scheduled sampling feeds to the rows that need own tokens: content tokens and mask."""
        with eval_state(self.backbone.lm):
            known = None if prompts is None else prompts.fork(rows, detach=True)
            if self.setup.sampling == "parallel":
                known = known or run_prompts(self.backbone, some.prompt_ids, some.prompt_mask)
                return write_in_parallel(self.backbone, known, self.written_by.space, gold, self.setup.sampling_passes)
            if self.tree is not None:
                scores = self.score(some) if known is None else self._scores_on(known)
                return scores.walk(gold).fed(some.row_id.device)
            written = self.write(some, gold, known)
            return written.ids, written.mask

    def _join(self, batch: Batch, reading: Reading, scores: AnswerScores | None, reduction: Reduction) -> RowLosses:
        """Both losses of rows that were fed an answer."""
        writer = writer_loss(reading.nll, reading.scored)
        with full_precision(reading.states.device):
            seen = DirectorInput(
                reading.states.float(), reading.content, reading.nll, reading.scored, batch.weighed, batch.target
            )
            if scores is not None:
                seen = replace(seen, log_probs=scores.log_probs, values=self._numbers(batch))
            return joined(self.joint, writer, self.director.loss(seen), batch.weight, reduction)

    def _numbers(self, batch: Batch) -> Float[Tensor, " A"]:
        """The grid's numbers, standardised before they become float32."""
        standardised = (self.number_codec.grid - self.scale.mean) / self.scale.std
        return torch.tensor(standardised, dtype=torch.float32, device=batch.target.device)

    def _marginal_losses(self, batch: Batch, reduction: Reduction) -> RowLosses:
        """L_W on the gold answer, L_D averaged over all answers: nothing is sampled (SPEC 4)."""
        batch = batch.trimmed()  # no answer column beyond the codec's longest answer
        scores = self.score(batch, everything=True)
        predicting = scores.predicting_states(self._gold(batch))[:, : batch.answer_ids.shape[1]]
        nll = token_nll(self.backbone.logits(predicting), batch.answer_ids)
        writer = writer_loss(nll, batch.answer_mask)
        with full_precision(nll.device):
            director = marginal_loss(self.director, scores, batch.target, is_class=bool(self.setup.labels))
            return joined(self.joint, writer, director, batch.weight, reduction)

    def _gold(self, batch: Batch) -> Int[Tensor, " B"]:
        """Index of each row's gold answer."""
        space = self.finite_codec.space
        found = []
        for ids, mask in zip(batch.answer_ids.tolist(), batch.answer_mask.tolist(), strict=True):
            state = space.start
            for token, is_real in zip(ids, mask, strict=True):
                if is_real and token != space.stop:
                    state = space.advance(state, token)
            found.append(space.answer_at(state))
        return torch.tensor(found, device=batch.row_id.device)

    def stated(self, batch: Batch, how: str, decoding: Decoding, prefix: SharedPrefix | None) -> list[Prediction]:
        if how != "director":
            return super().stated(batch, how, decoding, prefix)
        if self.tree is None:
            written = self.written(batch, prefix)
            stated = self.read_back(written)
            if decoding.distribution:
                numbers = self.expanded(batch, decoding, prefix)
                stated = [beside(p, d, gives=True) for p, d in zip(stated, numbers, strict=True)]
            return self._directed(stated, self.director.output(written.states.float(), written.mask))
        scores = self.score(batch, everything=self.is_marginal or decoding.full_vocabulary, prefix=prefix)
        stated = self.read_scores(scores, "greedy", decoding)
        if self.is_marginal:
            return self._directed(stated, marginal_output(self.director, scores, is_class=bool(self.setup.labels)))
        states, content = scores.content_states(scores.greedy())
        return self._directed(stated, self.director.output(states.float(), content))

    def _directed(self, stated: list[Prediction], output: Float[Tensor, "B K"]) -> list[Prediction]:
        """Put the director's word in the place of the writer's; a distribution of numbers moves to it."""
        rows = output.cpu()
        if not self.setup.labels:
            return [directed(p, number, self.scale) for p, number in zip(stated, rows[:, 0].tolist(), strict=True)]
        read = [label_prediction(self.setup.labels, row, None) for row in rows.softmax(dim=1)]
        return [replace(p, value=r.value, probabilities=r.probabilities) for p, r in zip(stated, read, strict=True)]

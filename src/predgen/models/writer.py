"""The writing half that Generator and PredGen share: feed an answer, score the gold tokens, read answers back."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from predgen import registries
from predgen.codecs.base import Codec, FiniteCodec
from predgen.codecs.number import NumberCodec
from predgen.core import Decoding, Prediction
from predgen.data.collate import Batch
from predgen.decodings import DecodingRule, rule_of
from predgen.distribution import Distribution
from predgen.engine.answer_pass import AnswerStates, answer_states
from predgen.engine.answer_tree import AnswerTree, count_scored, shared_head
from predgen.engine.backbone import eval_state
from predgen.engine.expansion import expand
from predgen.engine.forest import Answers, Grove
from predgen.engine.free_text import FreeText
from predgen.engine.node_pass import start_pass
from predgen.engine.prompt_pass import CachedPrompts, SharedPrefix, run_prompts
from predgen.engine.scores import AnswerScores
from predgen.engine.sequential import Written, write, write_on
from predgen.engine.tree_pass import NodePass, TreePass
from predgen.engine.walk import GoldFeed
from predgen.errors import ConfigError
from predgen.losses.token_nll import token_nll
from predgen.models.answers import (
    at_temperature,
    distribution_of,
    distribution_of_expansion,
    point,
    shifted,
    with_numbers,
    written_answer,
)
from predgen.models.base import PLAIN, ModelSetup, PredictionModel
from predgen.models.settings import WriterSettings
from predgen.sampling.feeding import Fed, Reading

DIRECTOR = "director"
"""In the place of a decoding's name: the prediction is read off a director's head."""


def exact_probabilities(log_probs: Float[Tensor, "B A"], temperature: float = 1.0) -> Float[Tensor, "B A"]:
    """Probabilities in float64, which sum to 1 there; on the CPU."""
    return (log_probs.double() / temperature).softmax(dim=1).cpu()


class WritingModel(PredictionModel):
    """A prediction model that writes its answer.

    Attributes:
        writes_own: Whether it writes answers of its own; else it scores those that it is given.
        max_tree_nodes: Most trie nodes to run in one pass.
        tree: The answers, where all of their choices fit into one pass (labels always); None for other numbers and math.
    """

    writes_own: ClassVar[bool] = True

    def __init__(self, setup: ModelSetup, lm: Any, codec: Codec | None) -> None:  # noqa: ANN401
        super().__init__(setup, lm, codec)
        own: WriterSettings = setup.own
        self.max_tree_nodes = own.max_tree_nodes
        self.tree: AnswerTree | None = None
        if isinstance(codec, FiniteCodec):
            fits = count_scored(codec.space, self.max_tree_nodes) <= self.max_tree_nodes
            if setup.labels or fits:
                self.tree = AnswerTree(codec.space)
                self._in_forest = Answers(codec.space, self.tree)

    @property
    def way(self) -> str:
        """How answers are evaluated, in a word; where it is not by trees, with the reason."""
        if not isinstance(self.codec, FiniteCodec):
            return "sequential: answers with free text have no finite trie"
        if self.obstacle is not None:
            how = "level by level, on copied caches" if self.backbone.abilities.by_level else "sequential"
            return f"{how}: {self.obstacle}"
        return "tree pass" if self.tree is not None else "tree passes, level by level"

    @property
    def cost(self) -> str | None:
        steps = self.written_by.max_tokens - 1  # the stop is read, not fed
        if self.way.startswith("level by level"):
            if self.tree is not None and self.path_forwards(self.tree) == 1:
                return None
            return f"one forward over a row's prompt and up to {steps} steps of one token for each node"
        if not self.way.startswith("sequential"):
            return None
        if self.tree is not None:
            forwards = self.path_forwards(self.tree)
            return f"up to {forwards} forwards over a row where trees take one pass" if forwards > 1 else None
        if self.backbone.abilities.cache is not None:
            cost = f"up to {steps + 1} forwards over a row"
        else:
            cost = f"one forward over a row's prompt and up to {steps} steps of one token"
        return f"{cost}, and a forward for each node of a distribution" if self.setup.kind == "regression" else cost

    def path_forwards(self, tree: AnswerTree) -> int:
        """Most forwards that a row's prediction takes where each node is run as a path of its own."""
        return 1 + tree.n_scored

    def answer_nodes(self, decoding: Decoding = PLAIN) -> int:
        if self.tree is None:
            own = self.written_by.max_tokens
            return max(own, min(self.max_tree_nodes, decoding.max_nodes)) if self.expands(decoding) else own
        return self.tree.n_nodes if decoding.full_vocabulary else self.tree.n_scored

    def expands(self, decoding: Decoding) -> bool:
        """Whether a grid too large for one pass is expanded for what `decoding` asks for."""
        how = decoding.how or self.own_decoding
        reads_all = how != DIRECTOR and rule_of(how, decoding.own).reads != "writing"
        return self.tree is None and isinstance(self.codec, NumberCodec) and (decoding.distribution or reads_all)

    @property
    def number_codec(self) -> NumberCodec:
        """The codec of a regression model."""
        assert isinstance(self.codec, NumberCodec), "checked by `check`"
        return self.codec

    @property
    def finite_codec(self) -> FiniteCodec:
        """The codec of a model whose answers can be counted."""
        assert isinstance(self.codec, FiniteCodec), "checked by `check`"
        return self.codec

    @property
    def own_decoding(self) -> str:
        """How the method reads its prediction off what it can write; `DIRECTOR`: off a director's head."""
        return "argmax" if isinstance(self.codec, FiniteCodec) else "greedy"

    @property
    def is_directed(self) -> bool:
        """Whether the method's own prediction is a head's word, to which the distribution moves."""
        return self.own_decoding == DIRECTOR

    @property
    def keeps_mean(self) -> bool:
        """Whether the method's own prediction is the mean of the numbers that it can write."""
        return not self.is_directed and rule_of(self.own_decoding).reads == "numbers"

    def moves_for(self, rule: DecodingRule) -> bool:
        """Whether a temperature has numbers moved, so that their mean stays; not where the written answer is asked for."""
        return self.keeps_mean and self.temperature != 1 and rule.reads != "writing"

    def offers(self, rule: DecodingRule) -> bool:
        """Whether the model has what a decoding reads."""
        is_finite = isinstance(self.codec, FiniteCodec)
        has = {
            "writing": True,
            "answers": is_finite,
            "numbers": is_finite and not self.setup.labels,
            "text": self.is_headless,
        }
        return has[rule.reads]

    def check(self, decoding: Decoding) -> None:
        if decoding.how is not None and not self.offers(rule_of(decoding.how, decoding.own)):
            allowed = [name for name in registries.decodings if self.offers(rule_of(name))]
            raise ConfigError(
                f"`decode` {decoding.how!r} is not for a {self.setup.kind} model; allowed here: {', '.join(allowed)}."
            )
        if decoding.distribution and not isinstance(self.codec, NumberCodec):
            raise ConfigError(
                f"distributions and quantiles need a regression model, but this is a {self.setup.kind} model."
            )
        if decoding.full_vocabulary and self.tree is None:
            raise ConfigError(
                "full-vocabulary probabilities need all answers in one tree pass, but there are more than"
                f" `max_tree_nodes` {self.max_tree_nodes} nodes, or no finite set. Train with fewer `decimals`."
            )

    @property
    def head_tokens(self) -> tuple[int, ...]:
        return self.tree.head if self.tree is not None else ()

    # Training

    def run_once(self, batch: Batch, *, again: bool) -> CachedPrompts | None:
        """The batch's prompts, run once for all that follows; None where one pass over prompt and answer does it all.

        Args:
            batch: The rows.
            again: Whether more than the fed answer will be run behind them.
        """
        if (known := self.known(batch)) is not None:
            return known
        if not again or self.obstacle is not None or self.backbone.drops_caches:
            return None
        return run_prompts(self.backbone, batch.prompt_ids, batch.prompt_mask, self.head_tokens)

    def read(self, batch: Batch, fed: Fed) -> Reading:
        """Run fed answers behind their prompts; logits are computed at answer positions only."""
        if fed.prompts is None:
            states = answer_states(self.backbone, batch.prompt_ids, batch.prompt_mask, fed.ids, fed.mask)
        else:
            states = self._states_on(fed.prompts, fed)
        return self._reading(batch, states, fed)

    def _states_on(self, prompts: CachedPrompts, fed: Fed) -> AnswerStates:
        """States of fed answers behind cached prompts, which hold the head that every answer starts with."""
        known = prompts.tail.shape[1] - 1
        ids, mask = fed.ids[:, known:], fed.mask[:, known:]
        rest = prompts.tail[:, :0]
        if ids.shape[1]:
            whole = torch.cat([prompts.mask, mask], dim=1)
            rest, _ = self.backbone.states(ids, whole, cache=prompts.fork().cache)
        predicting = torch.cat([prompts.tail, rest], dim=1)
        return AnswerStates(predicting, predicting[:, 1:])

    def _reading(self, batch: Batch, states: AnswerStates, fed: Fed) -> Reading:
        """Score the gold tokens."""
        logits = self.backbone.logits(states.predicting[:, : batch.answer_ids.shape[1]])
        return Reading(states.content, fed.mask, token_nll(logits, batch.answer_ids), fed.scored)

    def node_pass(self, batch: Batch, head: Sequence[int], prefix: SharedPrefix | None = None) -> NodePass:
        """Start a pass over trie nodes behind the batch's prompts, with gradient where it is enabled."""
        return start_pass(self.backbone, self.obstacle, batch.prompt_ids, batch.prompt_mask, head, prefix)

    def score(
        self,
        batch: Batch,
        *,
        everything: bool = False,
        prefix: SharedPrefix | None = None,
        prompts: CachedPrompts | None = None,
    ) -> AnswerScores:
        """Evaluate all answers at once, with gradient where it is enabled.

        Args:
            batch: The rows.
            everything: Run every content node, not only those that probabilities depend on.
            prefix: Tokens before the prompts, already run.
            prompts: The rows' prompts, where they have been run with the answers' head (`run_once`).
        """
        assert self.tree is not None, "answers fit into one pass"
        nodes = self.node_pass(batch, self.tree.head, prefix) if prompts is None else TreePass(self.backbone, prompts)
        return AnswerScores(self.backbone, nodes, self.tree, everything=everything)

    @torch.no_grad()
    def answer_log_probs(self, batch: Batch) -> Float[Tensor, "B A"]:
        """Log P(a|X) of every answer, in the codec's order; they sum to 1 (docs/concepts.md, tree pass). Labels, and grids of one pass."""
        with eval_state(self.backbone.lm):
            return self.score(batch).log_probs

    def write(self, batch: Batch, gold: GoldFeed | None = None, prompts: CachedPrompts | None = None) -> Written:
        """Write every row's answer token by token, greedily, under the codec's constraint.

        Args:
            batch: The rows.
            gold: Scheduled sampling; None: own tokens only.
            prompts: The rows' prompts, where they have been run without a head.
        """
        space, limit = self.written_by.space, self.written_by.max_tokens
        if prompts is not None:
            return write_on(self.backbone, prompts, space, limit, gold=gold)
        return write(self.backbone, batch.prompt_ids, batch.prompt_mask, space, limit, gold=gold)

    def written(self, batch: Batch, prefix: SharedPrefix | None) -> Written:
        """Write every row's answer, behind a prefix that may have been run already."""
        if prefix is None:
            return self.write(batch)
        return self.write(batch, prompts=run_prompts(self.backbone, batch.prompt_ids, batch.prompt_mask, (), prefix))

    def write_freely(self, batch: Batch) -> Written:
        """Write every row's answer greedily without a constraint, in at most twice the codec's longest answer.

        Nothing is written beyond the model's context, where positions may have no embedding.
        """
        codec, vocabulary = self.written_by, self.backbone.vocabulary_size
        budget = 2 * codec.max_tokens
        if self.backbone.context is not None:
            budget = max(0, min(budget, self.backbone.context - int(batch.prompt_mask.sum(dim=1).max())))
        space = FreeText(vocabulary, codec.space.stop, budget)
        return write(self.backbone, batch.prompt_ids, batch.prompt_mask, space, budget + 1)

    @torch.no_grad()
    def own_states(
        self, batch: Batch, prefix: SharedPrefix | None = None
    ) -> tuple[Float[Tensor, "B C H"], Bool[Tensor, "B C"]]:
        """Last hidden states at the content tokens that the model writes greedily, and where they are real."""
        with eval_state(self.backbone.lm):
            if self.tree is None:
                written = self.written(batch, prefix)
                return written.states, written.mask
            scores = self.score(batch, prefix=prefix)
            return scores.content_states(scores.greedy())

    # Prediction

    @torch.no_grad()
    def predict(self, batch: Batch, decoding: Decoding = PLAIN, prefix: SharedPrefix | None = None) -> list[Prediction]:
        with eval_state(self.backbone.lm):
            return self.stated(batch, decoding.how or self.own_decoding, decoding, prefix)

    def stated(self, batch: Batch, how: str, decoding: Decoding, prefix: SharedPrefix | None) -> list[Prediction]:
        """Predictions read off what the model can write."""
        if self.tree is not None:
            scores = self.score(batch, everything=self.runs_everything(decoding), prefix=prefix)
            return self.stated_on(scores, how, decoding)
        rule = rule_of(how, decoding.own)
        numbers: list[Distribution] = []
        if rule.reads != "writing" or decoding.distribution:
            # The most probable number alone is known long before the rest.
            is_mode = rule.reads == "answers" and not (decoding.distribution or self.moves_for(rule))
            bound = 1.0 if is_mode else None
            numbers = self.expanded(batch, decoding, prefix, bound, self.moves_for(rule))
        if rule.reads == "writing":
            points = self.read_back(self.written(batch, prefix))
        else:
            points = [point(distribution, rule, self.number_codec, self.scale) for distribution in numbers]
        if not numbers:
            return points
        return [with_numbers(p, d, gives=decoding.distribution) for p, d in zip(points, numbers, strict=True)]

    def answers_in_forest(self, decoding: Decoding) -> Answers | None:
        return None if self.tree is None else self._in_forest

    def runs_everything(self, decoding: Decoding) -> bool:
        return decoding.full_vocabulary

    @torch.no_grad()
    def predict_in_forest(self, grove: Grove, decoding: Decoding) -> list[Prediction]:
        with eval_state(self.backbone.lm):
            return self.stated_on(grove.scores(), decoding.how or self.own_decoding, decoding)

    def stated_on(self, scores: AnswerScores, how: str, decoding: Decoding) -> list[Prediction]:
        """Predictions read off exact probabilities, by the method's own way or another."""
        return self.read_scores(scores, how, decoding)

    def read_scores(self, scores: AnswerScores, how: str, decoding: Decoding) -> list[Prediction]:
        """Predictions read off exact probabilities."""
        log_probs = scores.full_vocabulary_log_probs() if decoding.full_vocabulary else scores.log_probs
        mass = log_probs.double().logsumexp(dim=1).exp().tolist()
        exact = exact_probabilities(log_probs)
        if self.setup.labels:
            # A head's temperature is that of its own probabilities.
            temperature = 1.0 if self.is_directed else self.temperature
            exact = exact_probabilities(log_probs, temperature)
        rule = rule_of(how, decoding.own)
        moves = self.moves_for(rule)
        chosen = (scores.greedy() if rule.reads == "writing" else log_probs.argmax(dim=1)).tolist()
        found = []
        for row, (index, probabilities) in enumerate(zip(chosen, exact, strict=True)):
            stated = written_answer(self.finite_codec.value_at(index), self.scale)
            if self.setup.labels:
                stated = replace(stated, probabilities=tuple(probabilities.tolist()), temperature=temperature)
            elif rule.reads == "numbers" or decoding.distribution or moves:
                numbers = self._of_grid(probabilities.numpy(), scores.tree.n_scored, moves)
                is_point = rule.reads == "numbers" or (rule.reads == "answers" and moves)
                stated = point(numbers, rule, self.number_codec, self.scale) if is_point else stated
                stated = replace(stated, distribution=numbers if decoding.distribution else None)
            found.append(replace(stated, legal_mass=mass[row]) if decoding.full_vocabulary else stated)
        return found

    def _of_grid(self, probabilities: npt.NDArray[np.float64], nodes: int, keeps_mean: bool) -> Distribution:
        """What is said of the numbers of a whole grid; with `keeps_mean` a temperature leaves the mean where it was."""
        numbers = distribution_of(self.number_codec, probabilities, nodes, self.scale, self.temperature)
        if not keeps_mean:
            return numbers
        return shifted(numbers, distribution_of(self.number_codec, probabilities, nodes, self.scale).mean(), self.scale)

    def retold(self, stated: Prediction, temperature: float) -> Prediction | None:
        """The method's own prediction of a number at another temperature, without running anything again.

        Args:
            stated: The prediction at temperature 1, with its distribution.
            temperature: The other one.

        Returns:
            What `predict` would say at that temperature; None where the distribution does not have every number of the grid.
        """
        numbers = stated.distribution
        if self.tree is None or numbers is None:
            return None
        written = numbers.written or numbers
        if len(written.support) < len(self.number_codec.grid):
            return None  # numbers that met at an end of the range would be tempered together
        told = at_temperature(written, temperature)
        if self.is_directed:
            assert isinstance(stated.value, float), "a head says a number"
            return replace(stated, distribution=shifted(told, stated.value, self.scale))
        if not self.keeps_mean:
            return replace(stated, distribution=told)
        told = shifted(told, written.mean(), self.scale)
        read = point(told, rule_of(self.own_decoding), self.number_codec, self.scale)
        return replace(stated, value=read.value, distribution=told)

    @torch.no_grad()
    def distributions(self, batch: Batch, bound: float = 0.0) -> list[Distribution]:
        """What the writer says, P(a|X) over each row's numbers, with at most `bound` of it unexpanded (regression)."""
        decoding = Decoding(distribution=True, max_unexpanded=bound)
        self.check(decoding)
        with eval_state(self.backbone.lm):
            # The writer's, whatever a head says.
            if self.tree is not None:
                found = self.read_scores(self.score(batch), "argmax", decoding)
            else:
                found = WritingModel.stated(self, batch, "argmax", decoding, None)
        return [prediction.distribution for prediction in found if prediction.distribution is not None]

    def expanded(
        self,
        batch: Batch,
        decoding: Decoding,
        prefix: SharedPrefix | None,
        bound: float | None = None,
        keeps_mean: bool = False,
    ) -> list[Distribution]:
        """Distributions over a grid that is too large for one pass, with at most `bound` unexpanded; None: as asked for.

        With `keeps_mean` a temperature leaves their means where they were.
        """
        bound = decoding.max_unexpanded if bound is None else bound
        space = self.number_codec.space
        nodes = self.node_pass(batch, shared_head(space)[0], prefix)
        rows = expand(self.backbone, nodes, space, bound, self.max_tree_nodes, decoding.max_nodes)
        found = [distribution_of_expansion(self.number_codec, row, self.scale, self.temperature) for row in rows]
        if not keeps_mean:
            return found
        plain = [distribution_of_expansion(self.number_codec, row, self.scale).mean() for row in rows]
        return [shifted(numbers, mean, self.scale) for numbers, mean in zip(found, plain, strict=True)]

    def read_back(self, written: Written) -> list[Prediction]:
        """Predictions that the written answers themselves state."""
        decoded = [self.written_by.decode(ids) for ids in written.sequences()]
        return [written_answer(d.value, self.scale, d.flags) for d in decoded]

"""What a mode of scheduled sampling is: it decides what PredGen is fed in training, and what its director reads.

write -> `Fed`, read -> `Reading`, and from it the director's loss. A mode that only chooses other positions defines `own`;
one that writes in another way, `own_tokens`; one that lets the director read something else, `read` and what follows.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from predgen.codecs.base import Codec
from predgen.core import Kind
from predgen.data.collate import Batch
from predgen.directors.base import Director, DirectorInput
from predgen.engine.answer_tree import AnswerTree
from predgen.engine.backbone import Backbone, eval_state
from predgen.engine.prompt_pass import CachedPrompts
from predgen.engine.scores import AnswerScores
from predgen.engine.sequential import Written
from predgen.engine.walk import GoldFeed, OwnTokens
from predgen.errors import ConfigError
from predgen.sampling.draws import SamplingPlan
from predgen.sampling.feeding import Fed, Reading, feed_gold, feed_own
from predgen.settings import Settings


@runtime_checkable
class Writing(Protocol):
    """What a mode may ask of the model that writes (`models.writer.WritingModel`).

    Attributes:
        backbone: The language model.
        tree: The answers, where their choices fit into one pass; None for other numbers and math.
        obstacle: Why the base cannot run trees, nor go on from a copied cache; None: it can.
    """

    backbone: Backbone
    tree: AnswerTree | None
    obstacle: str | None

    @property
    def written_by(self) -> Codec:
        """The codec of the answers."""

    def run_once(self, batch: Batch, *, again: bool) -> CachedPrompts | None:
        """The batch's prompts, run for all that follows; `again`: more than the fed answer will be run behind them."""

    def score(self, batch: Batch, *, everything: bool = False, prompts: CachedPrompts | None = None) -> AnswerScores:
        """All answers at once, with gradient where it is enabled; `everything`: every content node too."""

    def write(self, batch: Batch, gold: GoldFeed | None = None, prompts: CachedPrompts | None = None) -> Written:
        """Write every row's answer token by token, greedily, under the codec's constraint."""

    def read(self, batch: Batch, fed: Fed) -> Reading:
        """Run fed answers behind their prompts."""


@dataclass(frozen=True, slots=True)
class SamplingSetup:
    """What a mode is made from.

    Attributes:
        name: Registry name.
        kind: Kind of task.
    """

    name: str
    kind: Kind


class SamplingMode(ABC):
    """Base class: gold tokens are fed, but at some positions the model's own (docs/methods.md, scheduled sampling; Bengio et al. 2015).

    Args:
        setup: What it is made from.
        settings: The mode's own settings; None where it declares none.

    Attributes:
        kinds: Kinds of task that the mode can serve.
        purpose: What the mode does, as errors say it after its name.
        elsewhere: What stands against other kinds of task, as errors say it after their name.
        needs_head: Whether the director has to have a head.
        needs_cache: Whether the base has to go on from a copied cache.
        runs_all_answers: Whether every content node of the answers is run, in training and for predictions, instead of
            those only that probabilities depend on: what the mode costs beyond the others.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("classification", "regression", "math")
    purpose: ClassVar[str] = "feeds own tokens"
    elsewhere: ClassVar[str] = "which it does not serve; use 'token'"
    needs_head: ClassVar[bool] = False
    needs_cache: ClassVar[bool] = False
    runs_all_answers: ClassVar[bool] = False

    def __init__(self, setup: SamplingSetup, settings: Settings | None = None) -> None:
        self.setup = setup
        self.settings = settings

    # Requirements

    @classmethod
    def check_task(cls, name: str, kind: Kind, director: str, *, has_head: bool) -> None:
        """Refuse tasks and directors that the mode cannot serve, before a model is loaded.

        Raises:
            ConfigError: Naming what can be used instead.
        """
        if kind not in cls.kinds:
            raise ConfigError(f"`sampling` {name!r} {cls.purpose}, but the task is a {kind} task, {cls.elsewhere}.")
        if cls.needs_head and not has_head:
            raise ConfigError(
                f"`sampling` {name!r} {cls.purpose} by a director's head, but director {director!r} has none; use director"
                " 'linear' or 'value', or another `sampling`."
            )

    def check_model(self, model: Writing, max_tree_nodes: int) -> None:
        """Refuse a model whose answers do not fit into one pass, or whose base cannot do what the mode needs.

        Raises:
            ConfigError: With a setting that helps.
        """
        name = self.setup.name
        if self.runs_all_answers and (model.tree is None or model.tree.n_nodes > max_tree_nodes):
            other = "" if self.setup.kind != "regression" else " Director 'expected' needs about a tenth of the nodes;"
            raise ConfigError(
                f"`sampling` {name!r} runs every answer's tokens in one pass, but they are more than `max_tree_nodes`"
                f" {max_tree_nodes}.{other} or lower `decimals`, raise `max_tree_nodes`, or use `sampling` 'token'."
            )
        if self.needs_cache and model.obstacle is not None:
            raise ConfigError(
                f"`sampling` {name!r} needs a base model that can go on from a copied cache ({model.obstacle}); use 'token'."
            )

    def nodes(self, tree: AnswerTree) -> int:
        """Content nodes that are run for a row's answers."""
        return tree.n_nodes if self.runs_all_answers else tree.n_scored

    # Training

    @abstractmethod
    def own(self, plan: SamplingPlan, row_id: Int[Tensor, " B"], width: int) -> Bool[Tensor, "B T"]:
        """Where the model is fed its own token. It has to depend on (seed, epoch, row) alone: see `SamplingPlan.uniforms`."""

    def write(self, model: Writing, batch: Batch, plan: SamplingPlan) -> Fed:
        """Decide what is fed."""
        # use_own is B T, over all answer tokens, the stop among them. Most rows need no own token at the start of a run:
        # only the S rows that do are written, behind their own prompts, and take their place among the B gold answers. The
        # prompts are run once (with gradient) where anything but the fed answer is run behind them; writing forks them
        # without gradient, reading goes on from them with it.
        use_own = self.own(plan, batch.row_id, batch.answer_ids.shape[1])
        rows = (use_own & batch.answer_mask).any(dim=1).nonzero().flatten()  # S
        prompts = model.run_once(batch, again=len(rows) > 0)
        if not len(rows):
            return feed_gold(batch, prompts)
        some = batch.rows(rows)
        gold = GoldFeed(some.answer_ids, some.answer_mask, use_own[rows])
        with torch.no_grad(), eval_state(model.backbone.lm):
            forked = None if prompts is None else prompts.fork(rows, detach=True)
            own = self.own_tokens(model, some, gold, forked)
        return feed_own(batch, rows, own, prompts)

    def own_tokens(self, model: Writing, some: Batch, gold: GoldFeed, prompts: CachedPrompts | None) -> OwnTokens:
        """Write the rows that need own tokens, left to right. Called without gradient.

        Args:
            model: Who writes.
            some: The rows.
            gold: Their gold answers, and where the own token is fed instead.
            prompts: Their prompts, where they have been run.
        """
        if model.tree is not None:
            return model.score(some, prompts=prompts).walk(gold).own_tokens(some.row_id.device)
        own = model.write(some, gold, prompts).own
        assert own is not None, "`gold` was given"
        return own

    def read(self, model: Writing, batch: Batch, fed: Fed) -> Reading:
        """States and token losses of what is fed."""
        return model.read(batch, fed)

    def director_loss(self, director: Director, seen: DirectorInput, reading: Reading) -> Float[Tensor, " B"]:
        """L_D of each row."""
        return director.loss(seen)

    # Prediction

    def output(self, director: Director, scores: AnswerScores) -> Float[Tensor, "B K"]:
        """What a director with a head says, where all answers were scored: it reads the greedy one."""
        states, content = scores.content_states(scores.greedy())
        output = director.output(states.float(), content)
        prior = director.prior(scores.log_probs, scores.prompt_states.float())
        return output if prior is None else prior + output

"""Mode `parallel`: own tokens of a whole answer at once, in a few passes, for long free text.

Source: Duckworth et al. (2019), "Parallel Scheduled Sampling", arXiv:1906.04331; with one pass, Mihaylova and Martins
(2019), "Scheduled Sampling for Transformers", ACL SRW, P19-2049.
"""

from typing import ClassVar

import torch
from jaxtyping import Bool
from torch import Tensor

from predgen.codecs.base import AnswerSpace
from predgen.core import Kind
from predgen.data.collate import Batch
from predgen.engine.backbone import Backbone
from predgen.engine.prompt_pass import CachedPrompts, run_prompts
from predgen.engine.walk import GoldFeed, OwnTokens, Walk
from predgen.sampling.base import SamplingSetup, Writing
from predgen.sampling.by_token import ByToken
from predgen.sampling.settings import ParallelSettings


class Parallel(ByToken):
    """As mode `token`, but the own tokens of a whole answer are chosen at once, in `sampling_passes` passes over it."""

    kinds: ClassVar[tuple[Kind, ...]] = ("math",)
    purpose: ClassVar[str] = "is for long free text (math)"
    elsewhere: ClassVar[str] = "where 'token' costs one tree pass and is exact"
    needs_cache: ClassVar[bool] = True

    def __init__(self, setup: SamplingSetup, settings: ParallelSettings) -> None:
        super().__init__(setup, settings)
        self.passes = settings.sampling_passes

    def own_tokens(self, model: Writing, some: Batch, gold: GoldFeed, prompts: CachedPrompts | None) -> OwnTokens:
        known = prompts or run_prompts(model.backbone, some.prompt_ids, some.prompt_mask)
        return write_in_parallel(model.backbone, known, model.written_by.space, gold, self.passes)


@torch.no_grad()
def write_in_parallel(
    backbone: Backbone, prompts: CachedPrompts, space: AnswerSpace, gold: GoldFeed, passes: int
) -> OwnTokens:
    """Feed own tokens where `gold` says so, each chosen behind what the pass before had fed.

    The first pass reads the gold answer. With as many passes as the answer has tokens, this is sampling left to right.
    What is fed is at most as long as the gold answer: behind it there is nothing to score.

    Args:
        backbone: The language model.
        prompts: The rows' prompts, run without a head; their cache is left as it is.
        space: The legal answers.
        gold: Gold answers, and where to feed own tokens.
        passes: Number of passes, >= 1.

    Returns:
        What is fed.
    """
    width = gold.ids.shape[1] - 1
    ids, mask = gold.ids[:, :width], gold.mask[:, 1:]
    for _ in range(passes):
        states = prompts.tail
        if width:
            whole = torch.cat([prompts.mask, mask], dim=1)
            answer, _ = backbone.states(ids, whole, cache=prompts.fork().cache)
            states = torch.cat([prompts.tail, answer], dim=1)
        own = _walk(backbone, states, mask, space, gold)
        ids, mask = own.ids, own.mask
    return own


def _walk(
    backbone: Backbone, states: Tensor, mask: Bool[Tensor, "B C"], space: AnswerSpace, gold: GoldFeed
) -> OwnTokens:
    """Walk all answers once, with own tokens from the states of the pass before."""
    batch, width = mask.shape
    choose = _Choices(backbone, states, space)
    walk = Walk(space, batch, gold)
    for step in range(width):
        if not walk.step([choose.best(row, step, walk) for row in range(batch)]):
            break
    own = walk.own_tokens(mask.device)
    ids, fed = (torch.nn.functional.pad(t, (0, width - t.shape[1])) for t in (own.ids, own.mask))
    return OwnTokens(ids, fed & gold.mask[:, 1:], own.scored)


class _Choices:
    """Best legal token at every position of a pass.

    Positions where everything but the stop is legal need one number only, found one position at a time, so that no
    vocabulary-wide table of the whole answer is made. Where few tokens are legal, only their logits are computed.
    """

    def __init__(self, backbone: Backbone, states: Tensor, space: AnswerSpace) -> None:
        self.backbone, self.states, self.space = backbone, states, space
        self._free: dict[int, list[int]] = {}

    def best(self, row: int, step: int, walk: Walk) -> int:
        """Best legal token of a row; the stop where it has ended."""
        if not walk.is_open[row]:
            return self.space.stop
        legal = self.space.legal(walk.states[row])
        if legal is None:
            return self._unconstrained(step)[row]
        if len(legal) == 1:
            return legal[0]
        logits = self.backbone.logits_of(self.states[row, step], torch.tensor(legal, device=self.states.device))
        return legal[int(logits.argmax())]

    def _unconstrained(self, step: int) -> list[int]:
        """Best token but the stop at one position of every row."""
        if step not in self._free:
            logits = self.backbone.logits(self.states[:, step])
            logits[:, self.space.stop] = -torch.inf
            self._free[step] = logits.argmax(dim=1).tolist()
        return self._free[step]

"""What a writing model is fed in training, which gold tokens can be scored after it, and what reading it gives."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from predgen.data.collate import Batch
from predgen.engine.prompt_pass import CachedPrompts
from predgen.engine.scores import AnswerScores
from predgen.engine.walk import OwnTokens


@dataclass(frozen=True, slots=True)
class Fed:
    """What the model is fed in training.

    Attributes:
        ids: Content tokens, right-padded, C >= T - 1.
        mask: True for content tokens.
        scored: True for gold tokens that are legal after the fed prefix.
        prompts: The prompts, where they have been run on the way.
    """

    ids: Int[Tensor, "B C"]
    mask: Bool[Tensor, "B C"]
    scored: Bool[Tensor, "B T"]
    prompts: CachedPrompts | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """States and token losses of a fed answer.

    Attributes:
        states: Last hidden states at the fed content tokens.
        content: True for content tokens.
        nll: -log p of each gold token, nats; any finite value where it is not scored.
        scored: See `Fed`.
        scores: All answers, where the mode or the director reads their probabilities.
    """

    states: Float[Tensor, "B C H"]
    content: Bool[Tensor, "B C"]
    nll: Float[Tensor, "B T"]
    scored: Bool[Tensor, "B T"]
    scores: AnswerScores | None = None


def feed_gold(batch: Batch, prompts: CachedPrompts | None = None) -> Fed:
    """Feed the gold content tokens; every gold token is scored."""
    width = batch.answer_ids.shape[1] - 1
    content = batch.answer_mask[:, 1:]  # as many content tokens as answer tokens but one
    return Fed(batch.answer_ids[:, :width], content, batch.answer_mask, prompts)


def feed_own(batch: Batch, rows: Int[Tensor, " S"], own: OwnTokens, prompts: CachedPrompts | None) -> Fed:
    """Feed gold, but in `rows` what is to be fed there; gold tokens that are illegal after the fed prefix are not scored."""
    gold = feed_gold(batch)
    # Own answers may be longer than every gold one of the batch, or shorter: both are brought to one width, and the S
    # rows are put into copies of the B gold ones.
    width = max(gold.ids.shape[1], own.ids.shape[1])
    ids, mask, scored = _widen(gold.ids, width), _widen(gold.mask, width), gold.scored.clone()  # B C, B C, B T
    ids[rows] = _widen(own.ids, width)
    mask[rows] = _widen(own.mask, width)
    scored[rows] = own.scored
    return Fed(ids, mask, scored, prompts)


def _widen(tensor: Tensor, width: int) -> Tensor:
    """Pad the second axis on the right with zeros (False) up to `width`; always a copy."""
    return torch.nn.functional.pad(tensor, (0, width - tensor.shape[1]))

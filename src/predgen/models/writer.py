"""The writing half that Generator and PredGen share: feed an answer, score the gold tokens, read answers back."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from predgen.codecs.base import AnswerSpace
from predgen.core import Prediction
from predgen.data.collate import Batch
from predgen.engine.answer_pass import answer_states
from predgen.engine.free_text import FreeText
from predgen.engine.sequential import Written, write
from predgen.losses.token_nll import token_nll
from predgen.models.base import PredictionModel


@dataclass(frozen=True, slots=True)
class Fed:
    """What the model is fed in training.

    Attributes:
        ids: Content tokens, right-padded, C >= T - 1.
        mask: True for content tokens.
        scored: True for gold tokens that are legal after the fed prefix.
    """

    ids: Int[Tensor, "B C"]
    mask: Bool[Tensor, "B C"]
    scored: Bool[Tensor, "B T"]


@dataclass(frozen=True, slots=True)
class Reading:
    """States and token losses of a fed answer.

    Attributes:
        states: Last hidden states at the fed content tokens.
        content: True for content tokens.
        nll: -log p of each gold token, nats; any finite value where it is not scored.
        scored: See `Fed`.
    """

    states: Float[Tensor, "B C H"]
    content: Bool[Tensor, "B C"]
    nll: Float[Tensor, "B T"]
    scored: Bool[Tensor, "B T"]


def feed_gold(batch: Batch) -> Fed:
    """Feed the gold content tokens; every gold token is scored."""
    width = batch.answer_ids.shape[1] - 1
    content = batch.answer_mask[:, 1:]  # as many content tokens as answer tokens but one
    return Fed(batch.answer_ids[:, :width], content, batch.answer_mask)


def feed_written(batch: Batch, rows: Int[Tensor, " S"], written: Written, space: AnswerSpace) -> Fed:
    """Feed gold, but in `rows` what was written; gold tokens that are illegal after the fed prefix are not scored."""
    gold = feed_gold(batch)
    width = max(gold.ids.shape[1], written.ids.shape[1])
    ids, mask = (_widen(t, width) for t in (gold.ids, gold.mask))
    ids[rows] = _widen(written.ids, width)
    mask[rows] = _widen(written.mask, width)
    scored = gold.scored.clone()
    for row, fed in zip(rows.tolist(), written.sequences(), strict=True):
        answer = batch.answer_ids[row][batch.answer_mask[row]].tolist()
        legal = legal_positions(fed, answer, space)
        scored[row, : len(legal)] = torch.tensor(legal, device=scored.device)
    return Fed(ids, mask, scored)


def _widen(tensor: Tensor, width: int) -> Tensor:
    """Pad the second axis on the right with zeros (False) up to `width`; always a copy."""
    return torch.nn.functional.pad(tensor, (0, width - tensor.shape[1]))


def legal_positions(fed: tuple[int, ...], answer: list[int], space: AnswerSpace) -> list[bool]:
    """For each token of a gold answer, whether it is legal after as many fed tokens; False after a fed stop."""
    state, result = space.start, []
    for t, token in enumerate(answer):
        legal = space.legal(state) if t <= len(fed) else ()
        result.append(token != space.stop if legal is None else token in legal)
        if t < len(fed):
            state = space.advance(state, fed[t])
    return result


class WritingModel(PredictionModel):
    """A prediction model that writes its answer."""

    def read(self, batch: Batch, fed: Fed) -> Reading:
        """Run prompts and fed answers; logits are computed at answer positions only."""
        states = answer_states(self.backbone, batch.prompt_ids, batch.prompt_mask, fed.ids, fed.mask)
        logits = self.backbone.logits(states.predicting[:, : batch.answer_ids.shape[1]])
        return Reading(states.content, fed.mask, token_nll(logits, batch.answer_ids), fed.scored)

    def write(self, batch: Batch) -> Written:
        """Write every row's answer greedily under the codec's constraint."""
        codec = self.written_by
        return write(self.backbone, batch.prompt_ids, batch.prompt_mask, codec.space, codec.max_tokens)

    def write_freely(self, batch: Batch) -> Written:
        """Write every row's answer greedily without a constraint, in at most twice the codec's longest answer."""
        codec, vocabulary = self.written_by, self.backbone.vocabulary_size
        budget = 2 * codec.max_tokens
        space = FreeText(vocabulary, codec.space.stop, budget)
        return write(self.backbone, batch.prompt_ids, batch.prompt_mask, space, budget + 1)

    def read_back(self, written: Written) -> list[Prediction]:
        """Predictions that the written answers themselves state."""
        decoded = [self.written_by.decode(ids) for ids in written.sequences()]
        return [Prediction(d.value, None, answer_text(d.value), d.flags) for d in decoded]


def answer_text(value: str | float) -> str:
    """A decoded value as text."""
    return value if isinstance(value, str) else repr(value)

"""What a writing model is fed in training, and which gold tokens can be scored after it."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from predgen.codecs.base import AnswerSpace
from predgen.data.collate import Batch
from predgen.engine.sequential import sequences


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


def feed_gold(batch: Batch) -> Fed:
    """Feed the gold content tokens; every gold token is scored."""
    width = batch.answer_ids.shape[1] - 1
    content = batch.answer_mask[:, 1:]  # as many content tokens as answer tokens but one
    return Fed(batch.answer_ids[:, :width], content, batch.answer_mask)


def feed_written(
    batch: Batch, rows: Int[Tensor, " S"], ids: Int[Tensor, "S C"], mask: Bool[Tensor, "S C"], space: AnswerSpace
) -> Fed:
    """Feed gold, but in `rows` what was written; gold tokens that are illegal after the fed prefix are not scored."""
    gold = feed_gold(batch)
    width = max(gold.ids.shape[1], ids.shape[1])
    fed_ids, fed_mask = (_widen(t, width) for t in (gold.ids, gold.mask))
    fed_ids[rows] = _widen(ids, width)
    fed_mask[rows] = _widen(mask, width)
    scored = gold.scored.clone()
    for row, fed in zip(rows.tolist(), sequences(ids, mask), strict=True):
        answer = batch.answer_ids[row][batch.answer_mask[row]].tolist()
        legal = legal_positions(fed, answer, space)
        scored[row, : len(legal)] = torch.tensor(legal, device=scored.device)
    return Fed(fed_ids, fed_mask, scored)


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

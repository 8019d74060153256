"""Answers one after the other, as whole sequences with gradient: the second route of what reads all of them."""

import functools
from dataclasses import replace

import torch
from torch import Tensor

from method_cases import NUMBERS, Case, answers_of, batch_of, codec_of, encode, make
from predgen.codecs.base import FiniteCodec
from predgen.codecs.number import NumberCodec
from predgen.core import Target
from predgen.data.collate import Batch, collate
from predgen.engine.answer_pass import answer_states
from predgen.models.predgen import PredGen
from tokenizers_for_tests import char_level


@functools.cache
def codec_for(kind: str) -> FiniteCodec:
    """The labels, or 27 numbers: -1.3, -1.2 ... 1.3."""
    if kind == "classification":
        found = codec_of(kind)
        assert isinstance(found, FiniteCodec)
        return found
    return NumberCodec.fit([-1.3, 0.3, 1.3], char_level(), scale=(-1.3, 1.3), decimals=1)


@functools.cache
def rows_for(kind: str) -> Batch:
    """Rows of unequal length; numbers beyond the grid are left out."""
    if kind == "classification":
        return batch_of(kind)
    fine = NumberCodec.fit(NUMBERS, char_level(), scale=(-2.0, 4.0))
    rows = [row for row in encode(kind, fine) if -1.3 <= row.target <= 1.3]
    codec = codec_for(kind)
    rounded = [replace(row, answer_ids=codec.encode(Target(row.target))) for row in rows]
    counted = [replace(row, answer=codec.space.index_of(row.answer_ids[:-1])) for row in rounded]
    weighed = [replace(row, weighed=codec.weighed_positions(row.answer_ids)) for row in counted]
    assert len(weighed) == 4
    return collate(weighed, char_level().pad_token_id)


def model_for(case: Case, family: str = "llama") -> PredGen:
    model = make(case, family, codec=codec_for(case.kind))
    assert isinstance(model, PredGen)
    return model


def plain(model: PredGen, batch: Batch) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """log P(a|X) of all answers, and the states and mask of each: one whole sequence an answer, with gradient."""
    answers = answers_of(model.finite_codec)
    legal: dict[tuple[int, ...], set[int]] = {}
    for answer in answers:
        for t, token in enumerate(answer):
            legal.setdefault(answer[:t], set()).add(token)
    log_probs, content = [], []
    for answer in answers:
        ids = torch.tensor(answer[:-1]).expand(len(batch.row_id), -1)
        mask = torch.ones_like(ids, dtype=torch.bool)
        states = answer_states(model.backbone, batch.prompt_ids, batch.prompt_mask, ids, mask)
        logits = model.backbone.logits(states.predicting)
        steps = [
            logits[:, t, token] - logits[:, t, sorted(legal[answer[:t]])].logsumexp(1) for t, token in enumerate(answer)
        ]
        log_probs.append(torch.stack(steps).sum(dim=0))
        content.append((states.content, mask))
    return torch.stack(log_probs, dim=1), content

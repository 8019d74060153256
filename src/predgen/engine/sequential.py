"""Answers written token by token on a key-value cache, under the answer space's constraint: the reference path."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from predgen.codecs.base import AnswerSpace
from predgen.engine.answer_pass import last_position
from predgen.engine.backbone import Backbone, eval_state
from predgen.engine.prompt_pass import CachedPrompts
from predgen.engine.walk import GoldFeed, OwnTokens, Walk


@dataclass(frozen=True, slots=True)
class Written:
    """Answers as they were fed.

    Attributes:
        ids: Content tokens, without the stop; any valid id under the mask.
        mask: True for content tokens.
        states: Last hidden states at the content tokens.
        own: What scheduled sampling fed; None without it.
    """

    ids: Int[Tensor, "B C"]
    mask: Bool[Tensor, "B C"]
    states: Float[Tensor, "B C H"]
    own: OwnTokens | None = None

    def sequences(self) -> list[tuple[int, ...]]:
        """Content tokens of each row."""
        return sequences(self.ids, self.mask)


def sequences(ids: Int[Tensor, "B C"], mask: Bool[Tensor, "B C"]) -> list[tuple[int, ...]]:
    """The real tokens of each row."""
    return [tuple(row[real].tolist()) for row, real in zip(ids.cpu(), mask.cpu(), strict=True)]


@torch.no_grad()
def write(
    backbone: Backbone,
    prompt_ids: Int[Tensor, "B P"],
    prompt_mask: Bool[Tensor, "B P"],
    space: AnswerSpace,
    max_tokens: int,
    *,
    gold: GoldFeed | None = None,
) -> Written:
    """Write answers greedily, node by node, under the space; with `gold`, feed its tokens where it says so.

    The module's train/eval state is left as it was found; writing happens in eval state.

    Args:
        backbone: The language model.
        prompt_ids: Prompt tokens, padded on either side.
        prompt_mask: True for prompt tokens.
        space: The legal answers.
        max_tokens: Longest answer in tokens, stop included.
        gold: Scheduled sampling; None: own tokens only.
    """
    with eval_state(backbone.lm):
        states, cache = backbone.states(prompt_ids, prompt_mask, use_cache=True)
        last = states[torch.arange(len(states), device=states.device), last_position(prompt_mask)]
        return _write(backbone, last, prompt_mask, cache, space, max_tokens, gold)


@torch.no_grad()
def write_on(
    backbone: Backbone, prompts: CachedPrompts, space: AnswerSpace, max_tokens: int, *, gold: GoldFeed | None = None
) -> Written:
    """Write behind prompts that have been run without a head; their cache is left as it is. See `write`."""
    with eval_state(backbone.lm):
        known = prompts.fork(detach=True)
        return _write(backbone, known.tail[:, 0], known.mask, known.cache, space, max_tokens, gold)


def _write(
    backbone: Backbone,
    last: Float[Tensor, "B H"],
    mask: Bool[Tensor, "B S"],
    cache: Any,  # noqa: ANN401
    space: AnswerSpace,
    max_tokens: int,
    gold: GoldFeed | None,
) -> Written:
    """Go on from the states at the prompts' last tokens."""
    batch, device = len(last), last.device
    hidden: list[Tensor] = []
    walk = Walk(space, batch, gold)
    for _ in range(max_tokens):
        if not walk.step(_own_tokens(backbone.logits(last), walk)):
            break
        ids = torch.tensor(walk.tokens[-1], device=device)[:, None]
        mask = torch.cat([mask, torch.tensor(walk.opens[-1], device=device)[:, None]], dim=1)
        states, cache = backbone.states(ids, mask, cache=cache, use_cache=True)
        last = states[:, -1]
        hidden.append(last)
    assert not any(walk.is_open), "the answer space allows answers longer than the codec's max_tokens"
    # Free text may stop at once.
    states = torch.stack(hidden, dim=1) if hidden else last[:, None][:, :0]
    return Written(*walk.fed(device), states, walk.own_tokens(device) if gold is not None else None)


def _own_tokens(logits: Float[Tensor, "B V"], walk: Walk) -> list[int]:
    """Best legal token of every open row; the stop for closed rows."""
    stop = walk.space.stop
    legal = [walk.space.legal(s) if o else (stop,) for s, o in zip(walk.states, walk.is_open, strict=True)]
    tokens: list[int] = mask_illegal(logits, legal, stop).argmax(dim=1).tolist()
    return tokens


def mask_illegal(
    logits: Float[Tensor, "B V"], legal: Sequence[tuple[int, ...] | None], stop: int
) -> Float[Tensor, "B V"]:
    """Set logits of illegal tokens to -inf; a row whose `legal` is None may take anything but the stop."""
    allowed = torch.zeros(logits.shape, dtype=torch.bool)
    for row, tokens in enumerate(legal):
        if tokens is None:
            allowed[row] = True
            allowed[row, stop] = False
        else:
            allowed[row, list(tokens)] = True
    return logits.masked_fill(~allowed.to(logits.device), -torch.inf)

"""Answers written token by token on a key-value cache, under the answer space's constraint: the reference path."""

import copy
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from predgen.codecs.base import AnswerSpace
from predgen.codecs.trie import Trie
from predgen.engine.answer_pass import last_position
from predgen.engine.backbone import Backbone, eval_state


@dataclass(frozen=True, slots=True)
class GoldFeed:
    """When to feed gold tokens instead of the model's own (scheduled sampling).

    Attributes:
        ids: Gold answers, stop included.
        mask: True for answer tokens.
        use_own: True where the model's own token is fed.
    """

    ids: Int[Tensor, "B T"]
    mask: Bool[Tensor, "B T"]
    use_own: Bool[Tensor, "B T"]


@dataclass(frozen=True, slots=True)
class Written:
    """Answers as they were fed.

    Attributes:
        ids: Content tokens, without the stop; any valid id under the mask.
        mask: True for content tokens.
        states: Last hidden states at the content tokens.
    """

    ids: Int[Tensor, "B C"]
    mask: Bool[Tensor, "B C"]
    states: Float[Tensor, "B C H"]

    def sequences(self) -> list[tuple[int, ...]]:
        """Content tokens of each row."""
        return [tuple(ids[mask].tolist()) for ids, mask in zip(self.ids, self.mask, strict=True)]


@dataclass
class _Writing:
    """Progress of a batch that is being written."""

    states: list[Hashable]
    is_open: list[bool]
    tokens: list[list[int]] = field(default_factory=list)
    opens: list[list[bool]] = field(default_factory=list)
    hidden: list[Tensor] = field(default_factory=list)


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

    A gold token is fed only where it is legal after the fed prefix, else the model's own (SPEC 2.1). The module's
    train/eval state is left as it was found; writing happens in eval state.

    Args:
        backbone: The language model.
        prompt_ids: Prompt tokens, padded on either side.
        prompt_mask: True for prompt tokens.
        space: The legal answers.
        max_tokens: Longest answer in tokens, stop included.
        gold: Scheduled sampling; None: own tokens only.
    """
    with eval_state(backbone.lm):
        return _write(backbone, prompt_ids, prompt_mask, space, max_tokens, gold)


def _write(
    backbone: Backbone,
    prompt_ids: Tensor,
    prompt_mask: Tensor,
    space: AnswerSpace,
    max_tokens: int,
    gold: GoldFeed | None,
) -> Written:
    """The loop behind `write`."""
    batch = len(prompt_ids)
    states, cache = backbone.states(prompt_ids, prompt_mask, use_cache=True)
    last = states[torch.arange(batch, device=states.device), last_position(prompt_mask)]
    mask = prompt_mask
    progress = _Writing([space.start] * batch, [True] * batch)
    for step in range(max_tokens):
        own = _own_tokens(backbone.logits(last), space, progress)
        tokens = _choose(own, space, progress, gold, step)
        if not any(progress.is_open):
            break
        ids = torch.tensor(tokens, device=prompt_ids.device)[:, None]
        opened = torch.tensor(progress.is_open, device=prompt_ids.device)[:, None]
        mask = torch.cat([mask, opened], dim=1)
        states, cache = backbone.states(ids, mask, cache=cache, use_cache=True)
        last = states[:, -1]
        progress.tokens.append(tokens)
        progress.opens.append(list(progress.is_open))
        progress.hidden.append(last)
    assert not any(progress.is_open), "the answer space allows answers longer than the codec's max_tokens"
    device = prompt_ids.device
    return Written(
        torch.tensor(progress.tokens, dtype=torch.long, device=device).reshape(-1, batch).T,
        torch.tensor(progress.opens, dtype=torch.bool, device=device).reshape(-1, batch).T,
        torch.stack(progress.hidden, dim=1) if progress.hidden else states[:, :0],  # free text may stop at once
    )


def _own_tokens(logits: Float[Tensor, "B V"], space: AnswerSpace, progress: _Writing) -> list[int]:
    """Best legal token of every open row; the stop for closed rows."""
    masked = mask_illegal(
        logits,
        [space.legal(s) if o else (space.stop,) for s, o in zip(progress.states, progress.is_open, strict=True)],
        space.stop,
    )
    tokens: list[int] = masked.argmax(dim=1).tolist()
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


def _choose(own: list[int], space: AnswerSpace, progress: _Writing, gold: GoldFeed | None, step: int) -> list[int]:
    """Pick each row's token, gold or own, move its state on, and close rows that stop."""
    tokens = list(own)
    for row in range(len(own)):
        if not progress.is_open[row]:
            continue
        if gold is not None and step < gold.ids.shape[1] and gold.mask[row, step] and not gold.use_own[row, step]:
            wanted = int(gold.ids[row, step])
            legal = space.legal(progress.states[row])
            if (wanted != space.stop) if legal is None else (wanted in legal):
                tokens[row] = wanted
        if tokens[row] == space.stop:
            progress.is_open[row] = False
        else:
            progress.states[row] = space.advance(progress.states[row], tokens[row])
    return tokens


@torch.no_grad()
def answer_log_probs(
    backbone: Backbone, prompt_ids: Int[Tensor, "B P"], prompt_mask: Bool[Tensor, "B P"], trie: Trie
) -> Float[Tensor, "B A"]:
    """Log P(a|X) of every answer of a trie: what constrained decoding follows; sums to 1 over the answers (SPEC 4).

    log P(a|X) = sum_t log softmax over the legal next tokens (stop included) of a's t-th token. Nodes with one legal
    continuation contribute 0 and are not run unless a later node needs them.
    """
    with eval_state(backbone.lm):
        return _answer_log_probs(backbone, prompt_ids, prompt_mask, trie)


def _answer_log_probs(backbone: Backbone, prompt_ids: Tensor, prompt_mask: Tensor, trie: Trie) -> Tensor:
    """One short forward per answer, on a copy of the prompts' cache."""
    states, cache = backbone.states(prompt_ids, prompt_mask, use_cache=True)
    root = states[torch.arange(len(states), device=states.device), last_position(prompt_mask)][:, None]
    columns = []
    for path in trie.paths():
        width = max((t for t, node in enumerate(path.nodes) if not trie.is_forced(node)), default=0)
        predicting = root
        if width:
            ids = torch.tensor(path.tokens[:width], device=prompt_ids.device).expand(len(root), -1)
            mask = torch.cat([prompt_mask, torch.ones_like(ids, dtype=torch.bool)], dim=1)
            predicting = torch.cat(
                [root, backbone.states(ids, mask, cache=copy.deepcopy(cache), use_cache=True)[0]], dim=1
            )
        total = torch.zeros(len(root), device=prompt_ids.device)
        for t in range(width + 1):
            legal = trie.legal(path.nodes[t])
            if len(legal) > 1:
                log_probs = backbone.logits(predicting[:, t])[:, list(legal)].log_softmax(dim=1)
                total = total + log_probs[:, legal.index(path.tokens[t])]
        columns.append(total)
    return torch.stack(columns, dim=1)

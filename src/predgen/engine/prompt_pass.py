"""Prompts in a key-value cache: run once, then read by everything that continues them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from predgen.engine.answer_pass import last_position
from predgen.engine.backbone import Backbone, eval_state, full_cache


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """Tokens with which every prompt of many rows starts, run once for all of them.

    Attributes:
        ids: The tokens.
        states: Their last hidden states.
        cache: Their keys and values.
    """

    ids: tuple[int, ...]
    states: Float[Tensor, "1 F H"]
    cache: Any


@torch.no_grad()
def share_prefix(backbone: Backbone, ids: Sequence[int]) -> SharedPrefix:
    """Run a prefix once."""
    tokens = torch.tensor([list(ids)], device=backbone.device)
    with eval_state(backbone.lm):
        states, cache = backbone.states(tokens, torch.ones_like(tokens, dtype=torch.bool), cache=full_cache())
    return SharedPrefix(tuple(ids), states, cache)


@dataclass(frozen=True, slots=True)
class CachedPrompts:
    """Prompts that have been run.

    Attributes:
        states: Last hidden states of all columns, D being the answer tokens that were run along with the prompt.
        mask: True for real tokens.
        tail: States at the prompt's last token and at each of these D answer tokens.
        cache: Keys and values of all columns.
    """

    states: Float[Tensor, "B S H"]
    mask: Bool[Tensor, "B S"]
    tail: Float[Tensor, "B T H"]
    cache: Any

    def fork(self, rows: Int[Tensor, " R"] | None = None, *, detach: bool = False) -> "CachedPrompts":
        """Return a copy, of some rows, whose cache can be grown without changing this one.

        Args:
            rows: Rows to keep; None: all.
            detach: Cut the copy off from the graph.
        """

        def part(tensor: Tensor) -> Tensor:
            kept = tensor if rows is None else tensor[rows]
            return kept.detach() if detach else kept

        layers = [(None, None) if keys is None else (part(keys), part(values)) for keys, values, *_ in self.cache]
        return CachedPrompts(part(self.states), part(self.mask), part(self.tail), full_cache(layers))

    def with_columns(self, columns: Int[Tensor, "B C"]) -> "CachedPrompts":
        """Return the same prompts on a cache of some columns of this one, which may hold more than the prompts."""

        def part(tensor: Tensor) -> Tensor:  # B heads S width
            return tensor.gather(2, columns[:, None, :, None].expand(-1, tensor.shape[1], -1, tensor.shape[3]))

        layers = [(None, None) if keys is None else (part(keys), part(values)) for keys, values, *_ in self.cache]
        return replace(self, cache=full_cache(layers))


@dataclass(frozen=True, slots=True)
class Unrun:
    """Prompts before they are run.

    Attributes:
        ids: Prompt tokens (what follows the prefix) and the head's.
        mask: True for real tokens, those of the prefix included.
        last: Column of the prompt's last token.
        n_head: Tokens of the head, which stand in the last columns.
        prefix: Tokens before them, already run.
    """

    ids: Int[Tensor, "B S"]
    mask: Bool[Tensor, "B C"]
    last: Int[Tensor, " B"]
    n_head: int
    prefix: SharedPrefix | None

    @classmethod
    def of(
        cls,
        prompt_ids: Int[Tensor, "B P"],
        prompt_mask: Bool[Tensor, "B P"],
        head: Sequence[int] = (),
        prefix: SharedPrefix | None = None,
    ) -> "Unrun":
        """Put prompts and head together; see `run_prompts`."""
        batch = len(prompt_ids)
        start = torch.tensor(list(head), dtype=torch.long, device=prompt_ids.device).expand(batch, -1)
        parts = [prompt_mask, torch.ones_like(start, dtype=torch.bool)]
        if prefix is not None:
            parts.insert(0, prompt_mask.new_ones(batch, len(prefix.ids)))
        ids, mask = torch.cat([prompt_ids, start], dim=1), torch.cat(parts, dim=1)
        return cls(ids, mask, last_position(prompt_mask), len(head), prefix)

    def cache(self) -> Any:  # noqa: ANN401
        """A cache with the prefix in it, to be grown."""
        if self.prefix is None:
            return full_cache()
        batch = len(self.ids)
        return full_cache(
            (None, None) if keys is None else (keys.expand(batch, -1, -1, -1), values.expand(batch, -1, -1, -1))
            for keys, values, *_ in self.prefix.cache
        )

    def run(self, backbone: Backbone) -> CachedPrompts:
        """Run them, with gradient where it is enabled."""
        return self.told(*backbone.states(self.ids, self.mask, cache=self.cache()))

    def told(self, states: Float[Tensor, "B S H"], cache: Any) -> CachedPrompts:  # noqa: ANN401
        """Put what the model made of `ids` behind what it had made of the prefix."""
        rows, width = torch.arange(len(states), device=states.device), states.shape[1]
        tail = torch.cat([states[rows, self.last][:, None], states[:, width - self.n_head :]], dim=1)
        if self.prefix is not None:
            states = torch.cat([self.prefix.states.expand(len(states), -1, -1), states], dim=1)
        return CachedPrompts(states, self.mask, tail, cache)


def run_prompts(
    backbone: Backbone,
    prompt_ids: Int[Tensor, "B P"],
    prompt_mask: Bool[Tensor, "B P"],
    head: Sequence[int] = (),
    prefix: SharedPrefix | None = None,
) -> CachedPrompts:
    """Run prompts into a cache that keeps every key, with gradient where it is enabled.

    Args:
        backbone: The language model.
        prompt_ids: Prompt tokens (what follows `prefix`), padded on either side; on the left where no padding may stand
            between tokens (`Backbone.can_continue`).
        prompt_mask: True for prompt tokens.
        head: Content tokens with which every answer starts; they are run along.
        prefix: Tokens before `prompt_ids`, already run.
    """
    return Unrun.of(prompt_ids, prompt_mask, head, prefix).run(backbone)

"""States of trie nodes where no tree runs in one pass: one short batch per depth, each node on a copy of its parent's cache.

Layers that carry a state from token to token (linear attention, state spaces, convolutions) have one past: siblings cannot
stand in one row. Their caches can be copied, keys, values and states alike. So the prompt is run once, and a tree of depth D
costs D forwards of one token per node, in place of a whole row per node.
"""

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from transformers import PreTrainedConfig

from predgen.engine.answer_pass import last_position
from predgen.engine.backbone import Backbone, eval_state
from predgen.engine.tree_pass import NodePass, checked_width, reason_of, relative_error, tolerance_of, tree_and_paths

_TOLERANCE = (
    1e-5  # of a state's norm: kernels of some models (zamba2, nemotron_h) take a step otherwise than a row, by 1e-4
)


class LevelPass(NodePass):
    """Nodes on copies of the prompts' own cache, with gradient where it is enabled.

    Args:
        backbone: The language model.
        prompt_ids: Prompt tokens, padded on the left.
        prompt_mask: True for prompt tokens.
        head: Content tokens with which every answer starts.
    """

    def __init__(
        self,
        backbone: Backbone,
        prompt_ids: Int[Tensor, "B P"],
        prompt_mask: Bool[Tensor, "B P"],
        head: Sequence[int] = (),
    ) -> None:
        self.backbone = backbone
        batch, width = prompt_ids.shape
        start = torch.tensor(list(head), dtype=torch.long, device=prompt_ids.device).expand(batch, -1)
        self._mask = torch.cat([prompt_mask, torch.ones_like(start, dtype=torch.bool)], dim=1)
        states, cache = backbone.states(torch.cat([prompt_ids, start], dim=1), self._mask, use_cache=True)
        rows = torch.arange(batch, device=prompt_ids.device)
        self._tail = torch.cat([states[rows, last_position(prompt_mask)][:, None], states[:, width:]], dim=1)
        # Nodes that were run together share a cache: node i of row b is row `_row[b, i]` of `_caches[_level[b, i]]`.
        self._caches: list[Any] = [cache]
        self._sizes = [batch]
        self._row = rows[:, None]
        self.parents = torch.zeros_like(self._row)
        self._level = torch.zeros_like(self._row)

    @property
    def tail(self) -> Float[Tensor, "B T H"]:
        return self._tail

    def grow(self, tokens: Int[Tensor, "B M"], parents: Int[Tensor, "B M"]) -> Float[Tensor, "B M H"]:
        # Nodes of one depth wait for nothing but the depth above, wherever they stand in the tree and in the batch: they are
        # one batch of single tokens. Of their parents' caches, which an earlier call may have left apart, each takes a copy of its
        # parent's row, so that the parent stays as it is for siblings, and for nodes to come.
        _, depth = self._lineage(parents)
        new = torch.zeros_like(parents)
        self._row, self._level = torch.cat([self._row, new], dim=1), torch.cat([self._level, new], dim=1)
        first = self.parents.shape[1] - tokens.shape[1]
        at, states = [], []
        for d in range(1, int(depth.max()) + 1):
            rows, nodes = (depth == d).nonzero(as_tuple=True)
            levels = self._level[rows, parents[rows, nodes]]
            for level in sorted({*levels.tolist()}):
                of_level = levels == level
                row, node = rows[of_level], nodes[of_level]
                states.append(self._step(level, row, self._row[row, parents[row, node]], tokens[row, node], d))
                at.append(row * tokens.shape[1] + node)
                self._row[row, first + node] = torch.arange(len(row), device=row.device)
                self._level[row, first + node] = len(self._caches) - 1
        found = torch.cat(states)
        flat = found.new_zeros(tokens.numel(), found.shape[1]).index_copy(0, torch.cat(at), found)
        return flat.view(*tokens.shape, -1)

    def _step(
        self, level: int, rows: Int[Tensor, " N"], behind: Int[Tensor, " N"], tokens: Int[Tensor, " N"], depth: int
    ) -> Float[Tensor, "N H"]:
        """Run one token per node behind rows of an earlier level; their caches are the next level."""
        cache = cache_of_rows(self._caches[level], self._sizes[level], behind)
        written = self._mask.new_ones(len(rows), depth)
        mask = torch.cat([self._mask[rows], written], dim=1)
        # Models write the new state into the memory of the old one, by which autograd has yet to differentiate: what it keeps
        # of a step, weights apart, is kept as a copy.
        with saved_tensors_hooks(_kept_apart, lambda tensor: tensor):
            states, grown = self.backbone.states(tokens[:, None], mask, cache=cache)
        self._caches.append(grown)
        self._sizes.append(len(rows))
        return states[:, 0]

    def keep(self, nodes: Int[Tensor, "B K"]) -> None:
        old = self._renumber(nodes)
        self._row, self._level = self._row.gather(1, old), self._level.gather(1, old)
        used = {*self._level.flatten().tolist()}
        self._caches = [cache if level in used else None for level, cache in enumerate(self._caches)]


def _kept_apart(tensor: Tensor) -> Tensor:
    """What autograd keeps of a tensor: itself where it is a weight or a constant."""
    return tensor if tensor.is_leaf else tensor.clone()


def cache_of_rows(cache: Any, size: int, rows: Int[Tensor, " N"]) -> Any:  # noqa: ANN401  (each model has its own)
    """Return a copy of a cache that holds these of its rows, in this order, whatever it is made of.

    Args:
        cache: A cache of transformers: objects, lists and mappings around tensors whose first dimension is the batch, but for
            counters and the like. Whether that holds for a model `find_copy_obstacle` says.
        size: Its rows.
        rows: Rows to take; a row may be taken more than once.
    """

    def copied(value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, Tensor):
            return value.index_select(0, rows) if value.ndim > 1 and len(value) == size else value.clone()
        if isinstance(value, list | tuple):
            return type(value)(map(copied, value))
        if isinstance(value, dict):
            twin = copy.copy(value)
            twin.update({name: copied(part) for name, part in value.items()})
            return twin
        is_kept = isinstance(value, PreTrainedConfig | nn.Module | type) or not hasattr(value, "__dict__")
        if is_kept or not type(value).__module__.startswith("transformers"):
            return value
        twin = copy.copy(value)
        twin.__dict__.update({name: copied(part) for name, part in vars(value).items()})
        return twin

    return copied(cache)


@torch.no_grad()
def find_copy_obstacle(backbone: Backbone) -> str | None:
    """Say why a model's cache cannot be copied for a tree that is run level by level, or None.

    A tiny tree is run so, and each of its paths as a row.
    """
    is_half = backbone.lm.get_input_embeddings().weight.dtype.itemsize == 2
    return _obstacle(backbone, relative_error, tolerance_of(backbone) if is_half else _TOLERANCE)


@torch.enable_grad()
def find_gradient_obstacle(backbone: Backbone) -> str | None:
    """Say why gradients do not pass through such copies, or None: those of the input embedding are compared."""
    weight = backbone.lm.get_input_embeddings().weight
    if not weight.requires_grad:
        return "its input embedding has no gradient to compare"

    def error(ours: Tensor, theirs: Tensor) -> float:
        by_state = torch.linspace(-1, 1, ours.numel(), device=ours.device, dtype=ours.dtype).view_as(ours)
        gradients = [torch.autograd.grad((states * by_state).sum(), weight)[0] for states in (ours, theirs)]
        return relative_error(gradients[0].flatten(), gradients[1].flatten())

    return _obstacle(backbone, error, tolerance_of(backbone))


def _obstacle(backbone: Backbone, error: Callable[[Tensor, Tensor], float], most: float) -> str | None:
    """What keeps nodes of a tiny tree from being those of its paths, by a measure of their distance and the most it may be."""
    width = checked_width(backbone)
    if backbone.context is not None and width + 4 > backbone.context:
        return f"its context of {backbone.context} tokens is too short for the check"
    try:
        with eval_state(backbone.lm):
            found = error(*tree_and_paths(backbone, width, functools.partial(LevelPass, backbone)))
    except Exception as refusal:  # whatever a model's code raises
        return reason_of(refusal)
    return None if found <= most else f"what is run on copies of its cache differs by {found:.1e}"

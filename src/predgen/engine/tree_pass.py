"""States of trie nodes behind prompts: all of them in one forward, each seeing the prompt and its own ancestors only.

Tree attention is known from speculative decoding (SpecInfer, arXiv:2305.09781; Medusa, arXiv:2401.10774; DeFT,
arXiv:2404.00242). Three passes give the same numbers:

- `TreePass` hangs nodes on prompts in a cache;
- `JointPass` runs prompts and nodes as one sequence, where activation checkpointing keeps no cache;
- `PathPass` runs each node's way as a sequence of its own, without masks or cache: for models that take no 4-D mask.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from predgen.engine.answer_pass import answer_states
from predgen.engine.backbone import Backbone, eval_state, positions_of, seen_by_rows
from predgen.engine.prompt_pass import CachedPrompts, SharedPrefix, Unrun, run_prompts

_CHECKED_WINDOW = 64  # sliding attention wider than this is not reached by the check's prompts
_TOLERANCES = {torch.float32: 1e-3, torch.float64: 1e-3}
_HALF_TOLERANCE = 0.1  # of a state's norm: bfloat16 carries 8 bits through every layer


MOST_FUSED = 256
"""Most nodes, over all rows of a batch, that are run along with their prompts. On a CPU 96 beside 800 prompt tokens cost 4 % less in
one forward than in two, and 480 cost 8 % more (SmolLM2, medians of alternating rounds)."""

LONGEST_FUSED = 256
"""Longest prompts, in tokens, that nodes are run along with: under a mask attention looks at all columns, where a causal kernel skips half
of them, and the longer prompts are, the more that is beside what a forward of few nodes costs (by arithmetic: about even here)."""


class NodePass(ABC):
    """Grows a tree behind each prompt of a batch. Node 0 is the root: the prompt's last token, or the head's.

    Attributes:
        parents: Parent of each node grown so far, the root (its own parent) included.
    """

    parents: Int[Tensor, "B N"]

    @property
    @abstractmethod
    def tail(self) -> Float[Tensor, "B T H"]:
        """States at the prompt's last token and at each token of the head; the last one is the root's."""

    @abstractmethod
    def grow(self, tokens: Int[Tensor, "B M"], parents: Int[Tensor, "B M"]) -> Float[Tensor, "B M H"]:
        """Add nodes and return their states.

        Args:
            tokens: Token of each new node.
            parents: Node it hangs on, among those grown before and the new ones before it.
        """

    @abstractmethod
    def keep(self, nodes: Int[Tensor, "B K"]) -> None:
        """Forget all nodes but the root and those named, which must include their parents; they count anew from 1.

        Args:
            nodes: Nodes to keep, ascending; padded with 0 on the right, where the place is taken by a node nobody sees.
        """

    def _renumber(self, nodes: Int[Tensor, "B K"]) -> Int[Tensor, "B N"]:
        """Make `parents` those of kept nodes; return the old number of each new node, the root included."""
        # `old` (B 1+K) holds the old number of each new node, the root first. `new` is its inverse, B N: scattering 1..K to the
        # kept places numbers them on, and a kept node's parent, found by its old number, is looked up there. Padding names
        # node 0 and so overwrites the root's own number, which is put back.
        old = torch.cat([torch.zeros_like(nodes[:, :1]), nodes], dim=1)
        new = torch.zeros_like(self.parents)
        new.scatter_(1, nodes, torch.arange(1, old.shape[1], device=nodes.device).expand_as(nodes))
        new[:, 0] = 0  # padding had named it
        self.parents = new.gather(1, self.parents.gather(1, old))
        return old

    def _lineage(self, parents: Int[Tensor, "B M"]) -> tuple[Bool[Tensor, "B M N"], Int[Tensor, "B M"]]:
        """Take in new nodes; return their ancestors (themselves included, the root left out) and their depth."""
        # All new nodes climb at once: `at` (B M) is where each has come to, and every turn marks that place, adds one to the
        # depth of those that are below the root, and goes up one. The root is its own parent, so climbers that arrive stay
        # there; as many turns are taken as the deepest node needs. The root's column is dropped: prompts are masked apart.
        first = self.parents.shape[1]
        self.parents = torch.cat([self.parents, parents], dim=1)
        batch, new = parents.shape
        seen = torch.zeros(batch, new, self.parents.shape[1], dtype=torch.bool, device=parents.device)
        depth = torch.zeros_like(parents)
        at = torch.arange(first, first + new, device=parents.device).expand(batch, -1)
        while bool((at > 0).any()):
            seen.scatter_(2, at[..., None], True)
            depth += at > 0
            at = self.parents.gather(1, at)
        return seen[..., 1:], depth


class TreePass(NodePass):
    """Nodes on cached prompts, with gradient where it is enabled.

    Args:
        backbone: The language model.
        prompts: Prompts that have been run; their cache is left as it is.
    """

    def __init__(self, backbone: Backbone, prompts: CachedPrompts) -> None:
        self.backbone = backbone
        self._prompts = prompts.fork()
        self._key_positions = positions_of(prompts.mask)
        self.parents = torch.zeros(len(prompts.mask), 1, dtype=torch.long, device=prompts.mask.device)

    @property
    def prompts(self) -> CachedPrompts:
        """The prompts, in a cache that holds the nodes grown so far, too: one column each, behind those of the prompts."""
        return self._prompts

    @property
    def tail(self) -> Float[Tensor, "B T H"]:
        return self._prompts.tail

    def grow(self, tokens: Int[Tensor, "B M"], parents: Int[Tensor, "B M"]) -> Float[Tensor, "B M H"]:
        # Keys are the cached prompt (S), the nodes grown before, and the new ones: S + N columns. A new node sees the real
        # tokens of its own prompt and its ancestors, whatever the columns between. Positions follow the way and not the
        # column, so siblings share one: the prompt's last real position plus the depth. That makes a node's state equal to
        # that of the same tokens written one by one, up to rounding.
        seen, depth = self._lineage(parents)
        mask = self._prompts.mask
        positions = mask.sum(dim=1, keepdim=True) - 1 + depth
        self._key_positions = torch.cat([self._key_positions, positions], dim=1)
        visible = torch.cat([mask[:, None].expand(-1, tokens.shape[1], -1), seen], dim=2)  # B M S+N
        return self.backbone.masked_states(tokens, positions, visible, self._key_positions, cache=self._prompts.cache)

    def keep(self, nodes: Int[Tensor, "B K"]) -> None:
        self._renumber(nodes)
        width = self._prompts.mask.shape[1]
        columns = torch.cat(
            [torch.arange(width, device=nodes.device).expand(len(nodes), -1), (width + nodes - 1).clamp(min=0)], dim=1
        )  # B S+K; node i stands in column S + i - 1
        self._key_positions = self._key_positions.gather(1, columns)
        self._prompts = self._prompts.with_columns(columns)


class FusedPass(TreePass):
    """Nodes on prompts that are run along with the first of them: one forward where `TreePass` takes two.

    A forward of few nodes reads all weights again, so that it costs far more than their share of the work. Many nodes, or long
    prompts, are worth forwards of their own (`MOST_FUSED`, `LONGEST_FUSED`).

    Args:
        backbone: The language model.
        prompt_ids: Prompt tokens (what follows `prefix`), as `run_prompts` takes them.
        prompt_mask: True for prompt tokens.
        head: Content tokens with which every answer starts.
        prefix: Tokens before the prompts, already run.
    """

    def __init__(
        self,
        backbone: Backbone,
        prompt_ids: Int[Tensor, "B P"],
        prompt_mask: Bool[Tensor, "B P"],
        head: Sequence[int] = (),
        prefix: SharedPrefix | None = None,
    ) -> None:
        self.backbone = backbone
        self._asked = Unrun.of(prompt_ids, prompt_mask, head, prefix)
        self._run: CachedPrompts | None = None
        self.parents = torch.zeros(len(prompt_ids), 1, dtype=torch.long, device=prompt_ids.device)

    @property
    def _prompts(self) -> CachedPrompts:
        """The prompts; run now, where no node has been grown."""
        if self._run is None:
            self._run = self._asked.run(self.backbone)
            self._key_positions = positions_of(self._run.mask)
        return self._run

    @_prompts.setter
    def _prompts(self, prompts: CachedPrompts) -> None:
        self._run = prompts

    def grow(self, tokens: Int[Tensor, "B M"], parents: Int[Tensor, "B M"]) -> Float[Tensor, "B M H"]:
        is_apart = tokens.numel() > MOST_FUSED or self._asked.mask.shape[1] > LONGEST_FUSED
        if self._run is not None or is_apart:
            return super().grow(tokens, parents)
        # Keys are the prefix (F), the prompt with its head (S), and the nodes (M); queries are the last two. A prompt token
        # sees the real columns up to its own, a node the real columns of all of its prompt, and its ancestors.
        #
        #            F prefix   S prompt        M nodes
        #   prompt  [ 1        | causal, real  | 0     ]
        #   nodes   [ 1        | real          | seen  ]
        seen, depth = self._lineage(parents)
        asked, new = self._asked, tokens.shape[1]
        mask = asked.mask
        prompt = seen_by_rows(mask, asked.ids.shape[1])  # B S F+S
        hidden = prompt.new_zeros(*prompt.shape[:2], new)
        nodes = torch.cat([mask[:, None].expand(-1, new, -1), seen], dim=2)
        visible = torch.cat([torch.cat([prompt, hidden], dim=2), nodes], dim=1)
        node_positions = mask.sum(dim=1, keepdim=True) - 1 + depth
        positions = torch.cat([positions_of(mask), node_positions], dim=1)
        cache, ids = asked.cache(), torch.cat([asked.ids, tokens], dim=1)
        at = positions[:, -ids.shape[1] :]
        states = self.backbone.masked_states(ids, at, visible, positions, cache=cache)
        self._run, self._key_positions = asked.told(states[:, :-new], cache), positions
        return states[:, -new:]


class JointPass(NodePass):
    """Prompts, head and nodes as one sequence under one 4-D mask, run anew whenever nodes are added.

    Args:
        backbone: The language model.
        prompt_ids: Prompt tokens.
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
        asked = Unrun.of(prompt_ids, prompt_mask, head)
        self._ids, self._mask, self._width = asked.ids, asked.mask, asked.ids.shape[1]
        self._positions = positions_of(self._mask)
        self._visible = seen_by_rows(self._mask, self._width)
        behind = torch.arange(self._width - len(head), self._width, device=prompt_ids.device)
        self._at = torch.cat([asked.last[:, None], behind.expand(len(prompt_ids), -1)], dim=1)
        self._states: Tensor | None = None
        self.parents = torch.zeros(len(prompt_ids), 1, dtype=torch.long, device=prompt_ids.device)

    @property
    def tail(self) -> Float[Tensor, "B T H"]:
        if self._states is None:
            self._run()
        assert self._states is not None, "just run"
        rows = torch.arange(len(self._ids), device=self._ids.device)[:, None]
        return self._states[rows, self._at]

    def grow(self, tokens: Int[Tensor, "B M"], parents: Int[Tensor, "B M"]) -> Float[Tensor, "B M H"]:
        # Columns are the prompt and its head (S, causal among themselves), then all nodes grown so far (N, M of them new).
        # `_visible` is square over them: `above` adds M columns that no earlier row may see, and below it come M rows,
        # each of which sees the real columns of the prompt and, among the nodes, its ancestors and itself.
        #
        #              S prompt   N - M nodes   M new
        #   earlier  [ visible so far         | 0     ]
        #   new      [ mask     | seen                ]
        #
        # A node's position is that of the prompt's last token plus its depth, wherever its column stands.
        seen, depth = self._lineage(parents)
        batch, new = tokens.shape
        positions = self._mask.sum(dim=1, keepdim=True) - 1 + depth
        prompt = self._mask[:, None].expand(-1, new, -1)
        hidden = self._visible.new_zeros(batch, self._ids.shape[1], new)
        above = torch.cat([self._visible, hidden], dim=2)
        self._visible = torch.cat([above, torch.cat([prompt, seen], dim=2)], dim=1)
        self._ids = torch.cat([self._ids, tokens], dim=1)
        self._positions = torch.cat([self._positions, positions], dim=1)
        self._run()
        assert self._states is not None, "just run"
        return self._states[:, -new:]

    def keep(self, nodes: Int[Tensor, "B K"]) -> None:
        self._renumber(nodes)
        columns = torch.cat(
            [
                torch.arange(self._width, device=nodes.device).expand(len(nodes), -1),
                (self._width + nodes - 1).clamp(min=0),
            ],
            dim=1,
        )
        self._ids, self._positions = self._ids.gather(1, columns), self._positions.gather(1, columns)
        rows = self._visible.gather(1, columns[..., None].expand(-1, -1, self._visible.shape[2]))
        visible = rows.gather(2, columns[:, None].expand(-1, columns.shape[1], -1))
        # Padding has taken the root's column: nobody else may see it there a second time.
        is_padding = torch.cat([torch.zeros_like(columns[:, : self._width]), nodes == 0], dim=1).bool()
        own = torch.eye(columns.shape[1], dtype=torch.bool, device=nodes.device)
        self._visible = visible & (~is_padding[:, None] | own)
        self._states = None

    def _run(self) -> None:
        """Run everything there is."""
        self._states = self.backbone.masked_states(self._ids, self._positions, self._visible, self._positions)


class PathPass(NodePass):
    """Each node's way as a plain sequence behind its prompt: the reference, one forward a node.

    Args:
        backbone: The language model.
        prompt_ids: Prompt tokens.
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
        self._prompt = prompt_ids, prompt_mask
        start = torch.tensor(list(head), dtype=torch.long, device=prompt_ids.device)
        self._head = start.expand(len(prompt_ids), -1)
        self._tail = answer_states(
            backbone, prompt_ids, prompt_mask, self._head, torch.ones_like(self._head, dtype=torch.bool)
        ).predicting
        self._tokens = torch.zeros(len(prompt_ids), 1, dtype=torch.long, device=prompt_ids.device)
        self.parents = torch.zeros_like(self._tokens)

    @property
    def tail(self) -> Float[Tensor, "B T H"]:
        return self._tail

    def grow(self, tokens: Int[Tensor, "B M"], parents: Int[Tensor, "B M"]) -> Float[Tensor, "B M H"]:
        _, depth = self._lineage(parents)
        self._tokens = torch.cat([self._tokens, tokens], dim=1)
        first = self.parents.shape[1] - tokens.shape[1]
        return torch.stack([self._state(first + m, depth[:, m]) for m in range(tokens.shape[1])], dim=1)

    def keep(self, nodes: Int[Tensor, "B K"]) -> None:
        self._tokens = self._tokens.gather(1, self._renumber(nodes))

    def _state(self, node: int, depth: Int[Tensor, " B"]) -> Float[Tensor, "B H"]:
        """State at one node of every row."""
        # The node's way is collected from below, D tokens for the deepest row. A row whose node is shallower has met the root
        # on the way, so that its tokens stand on the right, with `shift` strangers before them: they are moved to the left
        # (the last columns repeat a token, and are masked), for answers are padded on the right.
        at = torch.full_like(self.parents[:, :1], node)
        way = []
        for _ in range(int(depth.max())):
            way.append(self._tokens.gather(1, at))
            at = self.parents.gather(1, at)
        ids = torch.cat(way[::-1], dim=1)  # B W, the ways of shallow nodes padded on the left
        shift = ids.shape[1] - depth
        columns = torch.arange(ids.shape[1], device=ids.device) + shift[:, None]
        ids = torch.cat([self._head, ids.gather(1, columns.clamp(max=ids.shape[1] - 1))], dim=1)
        mask = torch.arange(ids.shape[1], device=ids.device) < (self._head.shape[1] + depth)[:, None]
        content = answer_states(self.backbone, *self._prompt, ids, mask).content
        return content[torch.arange(len(ids), device=ids.device), self._head.shape[1] + depth - 1]


@torch.no_grad()
def find_obstacle(backbone: Backbone) -> str | None:
    """Say why a model cannot run trees, or None: a tiny batch is run as a tree, and each of its paths as a row.

    Sliding windows wider than 64 tokens are beyond the check's prompts: they are trusted, since transformers makes all
    such masks in one place.
    """
    if not backbone.takes_positions:
        return "the model takes no position_ids"
    if "local" in (getattr(backbone.lm.config, "attention_layers", None) or ()):
        return "its local attention counts columns, not positions"
    if other := [kind for kind in backbone.layer_types if kind not in ("full_attention", "sliding_attention")]:
        return f"it has layers of kind {', '.join(other)}"
    width = checked_width(backbone)
    if backbone.context is not None and width + 4 > backbone.context:
        return f"its context of {backbone.context} tokens is too short for the check"
    try:
        with eval_state(backbone.lm):
            ways = partial(_started, backbone), partial(FusedPass, backbone)
            error = max(relative_error(*tree_and_paths(backbone, width, start)) for start in ways)
    except Exception as refusal:  # whatever a model's code raises when it meets a 4-D mask: it cannot run trees
        return reason_of(refusal)
    allowed = tolerance_of(backbone)
    return None if error <= allowed else f"a tree's states differ from those of its paths by {error:.1e} of their norm"


def checked_width(backbone: Backbone) -> int:
    """Tokens of the rows that checks run: where attention slides, some that the last one does not see."""
    return min(backbone.window or 0, _CHECKED_WINDOW) + 5


def tolerance_of(backbone: Backbone) -> float:
    """Difference from which on two ways are not the same, in the type of the model's weights."""
    return _TOLERANCES.get(backbone.lm.get_input_embeddings().weight.dtype, _HALF_TOLERANCE)


def reason_of(error: Exception) -> str:
    """An error of a model's code, in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def relative_error(found: Float[Tensor, "... H"], expected: Float[Tensor, "... H"]) -> float:
    """Largest difference between states, relative to their norm; infinite where one is not a number."""
    ours, theirs = found.float(), expected.float()
    difference = (ours - theirs).norm(dim=-1) / theirs.norm(dim=-1).clamp(min=torch.finfo(torch.float32).tiny)
    worst = float(difference.max())
    return worst if worst == worst else float("inf")  # nan: not equal to itself


_CHECKED_TREE = (0, 0, 1, 1, 2)  # parent of each node
_CHECKED_PATHS = ((1, 3), (1, 4), (2, 5))  # nodes on the way to each leaf
_CHECKED_NODES = ((0, 0), (2, 0), (0, 1), (1, 1), (2, 1))  # path and place in it where each node is found


def _started(backbone: Backbone, ids: Tensor, mask: Tensor, head: Sequence[int]) -> NodePass:
    """A tree behind prompts."""
    return TreePass(backbone, run_prompts(backbone, ids, mask, head))


def tree_and_paths(
    backbone: Backbone, width: int, start: Callable[[Tensor, Tensor, Sequence[int]], NodePass]
) -> tuple[Float[Tensor, "2 N H"], Float[Tensor, "2 N H"]]:
    """States of a tiny tree behind two prompts, and those of its paths, run as rows of one batch.

    Args:
        backbone: The language model.
        width: Tokens of the prompts.
        start: Starts the pass over nodes, from prompts, their mask and the answers' head.
    """
    vocabulary, device = backbone.vocabulary_size, backbone.device
    ids = torch.arange(2, 2 + 2 * width, device=device).view(2, width) % vocabulary
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[1, :2] = False
    tokens = torch.arange(3, 8, device=device).expand(2, -1) % vocabulary
    parents = torch.tensor(_CHECKED_TREE, device=device).expand(2, -1)
    head = [9 % vocabulary]
    tree = start(ids, mask, head)
    grown = tree.grow(tokens, parents)  # first: some run their prompts along with it
    ours = torch.cat([tree.tail, grown], dim=1)
    n = len(_CHECKED_PATHS)
    ways = [[*head, *(int(tokens[0, node - 1]) for node in way)] for way in _CHECKED_PATHS]
    fed = torch.tensor(ways, device=device).repeat(2, 1)
    prompt, prompt_mask = ids.repeat_interleave(n, dim=0), mask.repeat_interleave(n, dim=0)
    paths = answer_states(backbone, prompt, prompt_mask, fed, torch.ones_like(fed, dtype=torch.bool))
    nodes = [paths.content[path::n, len(head) + place] for path, place in _CHECKED_NODES]  # B H each
    theirs = torch.cat([paths.predicting[::n, : 1 + len(head)], torch.stack(nodes, dim=1)], dim=1)
    return ours, theirs

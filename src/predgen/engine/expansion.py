"""Distributions over number grids too large for one pass: prefixes are expanded best-first, level by level."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from predgen.codecs.number_grid import NumberGrid
from predgen.engine.answer_tree import shared_head
from predgen.engine.backbone import Backbone
from predgen.engine.tree_pass import NodePass


@dataclass(slots=True, eq=False)
class _Prefix:
    """A beginning of two or more numbers that has not been expanded.

    Attributes:
        mass: Its probability.
        state: A state of the space.
        anchor: Node of the pass from which `tokens` lead there.
        tokens: Tokens to run; none for the root.
    """

    mass: float
    state: Hashable
    anchor: int
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Branch:
    """A prefix that is to be expanded now, with the forced tokens after it.

    Attributes:
        prefix: The prefix.
        tokens: Its tokens, and those up to the next choice.
        children: The tokens to choose from, two or more, and the states they lead to.
    """

    prefix: _Prefix
    tokens: tuple[int, ...]
    children: Mapping[int, Hashable]

    @classmethod
    def of(cls, prefix: _Prefix, space: NumberGrid) -> "_Branch":
        """Go on from a prefix to the next choice; there is one, since the prefix has two or more numbers."""
        tokens, children = [*prefix.tokens], space.children(prefix.state)
        while len(children) == 1:
            ((token, state),) = children.items()
            tokens.append(token)
            children = space.children(state)
        return cls(prefix, tuple(tokens), children)


@dataclass(slots=True)
class Expansion:
    """What is known of one row's distribution.

    Attributes:
        answers: Index of a number in the grid -> its probability.
        pending: Prefixes that were not expanded.
        nodes: Nodes run.
        is_cut: Whether the budget of nodes ended the expansion: more is unexpanded than was allowed, or a number behind a
            prefix may be more probable than the best one found.
    """

    answers: dict[int, float] = field(default_factory=dict)
    pending: list[_Prefix] = field(default_factory=list)
    nodes: int = 0
    is_cut: bool = False

    @property
    def best(self) -> float:
        """Probability of the most probable number found; 0 where none is."""
        return max(self.answers.values(), default=0.0)

    def needed(self, allowance: float, *, is_last: bool) -> list[_Prefix]:
        """Prefixes to expand, the most probable first, so that what is left weighs at most `allowance`.

        At the last level, a prefix that outweighs the best number so far is needed in any case: the most probable number
        may be behind it.
        """
        # Sorted by falling mass, the prefixes that may be left behind are the longest tail that weighs at most `allowance`.
        # `left[i]` is the mass of prefix i and of all after it, so a prefix is needed where its tail is still too heavy:
        #
        #   masses  0.50  0.30  0.15  0.04  0.01      allowance 0.1
        #   left    1.00  0.50  0.20  0.05  0.01      -> the first three are expanded, 0.05 stays behind
        self.pending.sort(key=lambda prefix: -prefix.mass)
        masses = np.array([prefix.mass for prefix in self.pending])
        left = masses[::-1].cumsum()[::-1]  # mass of a prefix and all after it
        count = int((left > allowance).sum())
        if is_last and self.pending:
            count = max(count, int((masses > self.best).sum()) if self.answers else 1)
        return self.pending[:count]

    def affordable(self, needed: Sequence[_Prefix], space: NumberGrid, max_nodes: int) -> list[_Branch]:
        """As many of the needed prefixes, the first ones, as the rest of a budget of nodes allows."""
        branches, left = [], max_nodes - self.nodes
        for prefix in needed:
            branch = _Branch.of(prefix, space)
            left -= len(branch.tokens)
            if left < 0:
                break
            branches.append(branch)
        return branches

    def lead(self, prefixes: Sequence[_Prefix]) -> _Prefix | None:
        """The most probable of some prefixes, if the most probable number of all may be behind it."""
        heaviest = max(prefixes, key=lambda prefix: prefix.mass, default=None)
        return heaviest if heaviest is not None and heaviest.mass > self.best else None


@torch.no_grad()
def expand(
    backbone: Backbone,
    nodes: NodePass,
    space: NumberGrid,
    max_unexpanded: float,
    nodes_per_pass: int,
    max_nodes: int,
) -> list[Expansion]:
    """Expand each row's numbers until the mass of what is unexpanded is at most `max_unexpanded`, or the budget is spent.

    After the l-th of L levels, l/L of that mass may be left behind, so that no level uses up the allowance of the others.
    Where all of it may, only the most probable number is looked for: the best prefix is followed down to a number, then
    all those are expanded that outweigh it.
    Where the budget ends it, the most probable prefixes have been expanded; the best of those left is then followed down
    to a number, always by the best token, so that there is a number to state.

    Args:
        backbone: The language model.
        nodes: A pass that has grown no nodes yet, made with the space's head.
        space: The numbers.
        max_unexpanded: Bound on the unexpanded mass, 0..1.
        nodes_per_pass: Most nodes to run at once.
        max_nodes: Most nodes to run for a row, besides those of the one number at the end.
    """
    # A prefix stands for all numbers that begin with it; its mass is the product of the choices on its way, so that the masses
    # of a row's answers and pending prefixes sum to 1 at any moment. One turn of the loop goes one choice deeper: in each row
    # the heaviest prefixes are replaced by what they branch into. Rows are independent, but share the forwards: prefix i of
    # all B rows is run at once, whatever it is, which is why rows are padded to the widest and a finished row waits.
    #
    # A number of L choices has passed at most L levels when the loop ends by itself; then each row has left at most
    # `max_unexpanded` behind. Where only the mode is wanted (1.0), the loop starts at the last level, where a prefix is
    # needed for one reason alone: it outweighs the best number, so the mode may hide behind it.
    _, root = shared_head(space)
    rows = [Expansion(pending=[_Prefix(1.0, root, 0, ())]) for _ in range(len(nodes.parents))]
    runner = _Runner(backbone, nodes, space, nodes_per_pass)
    level = 0 if max_unexpanded < 1 else space.levels
    while True:
        allowance, is_last = max_unexpanded * min(1.0, (level + 1) / space.levels), level + 1 >= space.levels
        needed = [row.needed(allowance, is_last=is_last) for row in rows]
        chosen = [row.affordable(n, space, max_nodes) for row, n in zip(rows, needed, strict=True)]
        if any(chosen):
            runner.expand(rows, chosen)
        elif is_last:
            break
        level += 1
    leads = [row.lead(row.pending) if row.needed(max_unexpanded, is_last=True) else None for row in rows]
    while any(lead is not None for lead in leads):
        found = runner.expand(rows, [[_Branch.of(lead, space)] if lead is not None else [] for lead in leads])
        leads = [row.lead(prefixes) for row, prefixes in zip(rows, found, strict=True)]
    for row in rows:
        row.is_cut = bool(row.needed(max_unexpanded, is_last=True))
    return rows


class _Runner:
    """Runs chosen prefixes and spreads their mass over what they lead to."""

    def __init__(self, backbone: Backbone, nodes: NodePass, space: NumberGrid, nodes_per_pass: int) -> None:
        self.backbone, self.nodes, self.space, self.nodes_per_pass = backbone, nodes, space, nodes_per_pass
        tokens = sorted({*space.characters.values()})
        self.alphabet = torch.tensor(tokens, device=nodes.parents.device)
        self.column = {token: i for i, token in enumerate(tokens)}

    def expand(self, rows: Sequence[Expansion], chosen: Sequence[list[_Branch]]) -> list[list[_Prefix]]:
        """Expand prefixes of all rows, in as few forwards as `nodes_per_pass` allows; return each row's new prefixes."""
        self._forget_finished(rows)
        width = max(map(len, chosen))
        longest = max(len(branch.tokens) for branches in chosen for branch in branches)
        step = max(1, self.nodes_per_pass // max(1, longest))
        found: list[list[_Prefix]] = [[] for _ in rows]
        for start in range(0, width, step):
            part = [branches[start : start + step] for branches in chosen]
            states, ends = self._run(part)
            probabilities = self._probabilities(states, part)
            for row, branches, values, anchors, new in zip(rows, part, probabilities, ends, found, strict=True):
                for branch, choice, anchor in zip(branches, values, anchors, strict=False):
                    new += self._spread(row, branch, choice, anchor)
        for row, branches, new in zip(rows, chosen, found, strict=True):
            done = {id(branch.prefix) for branch in branches}
            row.pending = [prefix for prefix in row.pending if id(prefix) not in done] + new
        return found

    def _forget_finished(self, rows: Sequence[Expansion]) -> None:
        """Drop nodes that no unexpanded prefix hangs on, where they are most of a pass's nodes."""
        # Best-first search abandons most of what it has run. Nodes behind which nothing is pending are never looked at again,
        # yet every later forward attends over them. So the pass is thinned out to the ways of pending prefixes, but only where
        # that halves it: copying a cache costs as much as a forward. Anchors are then counted anew, as `keep` counts nodes.
        parents = self.nodes.parents.tolist()
        grown = len(parents[0]) - 1
        if grown < self.nodes_per_pass:
            return
        kept = [
            sorted(_with_ancestors({prefix.anchor for prefix in row.pending}, above))
            for row, above in zip(rows, parents, strict=True)
        ]
        if 2 * max(map(len, kept)) > grown:
            return
        self.nodes.keep(rectangle(kept).to(self.nodes.parents.device))
        for row, nodes in zip(rows, kept, strict=True):
            number = {0: 0} | {node: i for i, node in enumerate(nodes, start=1)}
            for prefix in row.pending:
                prefix.anchor = number[prefix.anchor]

    def _run(self, part: Sequence[list[_Branch]]) -> tuple[Tensor, list[list[int]]]:
        """Run the tokens of some prefixes; return the states behind them, and these states' nodes."""
        # Each branch is a chain: it hangs on its prefix's anchor, each of its tokens on the one before. The chains of a row are
        # laid side by side and numbered on from `first`, as the pass numbers its nodes:
        #
        #   row_tokens    a1 a2 a3 | b1 | c1 c2            M new nodes, padded with 0 to the widest row
        #   row_parents   A  f  f+1| B  | C  f+4           A, B, C: anchors, among the nodes grown before
        #   row_ends            f+2  f+3       f+5         the node whose state makes the branch's choice
        #
        # The root, whose state is the tail's last (B 1 H), can be an end as well: a choice at once, with nothing to run. The
        # table is that state and the new ones, B (1 + M) H; node n stands in its column n - (first - 1), the root in 0.
        first = self.nodes.parents.shape[1]
        tokens: list[list[int]] = []
        parents: list[list[int]] = []
        ends: list[list[int]] = []
        for branches in part:
            row_tokens: list[int] = []
            row_parents: list[int] = []
            row_ends: list[int] = []
            for branch in branches:
                at = branch.prefix.anchor
                for token in branch.tokens:
                    row_parents.append(at)
                    at = first + len(row_tokens)
                    row_tokens.append(token)
                row_ends.append(at)
            tokens.append(row_tokens)
            parents.append(row_parents)
            ends.append(row_ends)
        table, offset = self.nodes.tail[:, -1:], 0
        if any(tokens):
            device = self.alphabet.device
            grown = self.nodes.grow(rectangle(tokens).to(device), rectangle(parents).to(device))
            table, offset = torch.cat([table, grown], dim=1), first - 1
        places = rectangle([[end - offset if end else 0 for end in row] for row in ends]).to(table.device)
        return table.gather(1, places[..., None].expand(-1, -1, table.shape[2])), ends

    def _probabilities(self, states: Tensor, part: Sequence[list[_Branch]]) -> npt.NDArray[np.float64]:
        """Softmax over the legal tokens of each prefix, shape (rows, prefixes, alphabet)."""
        legal = torch.ones(*states.shape[:2], len(self.column), dtype=torch.bool)
        for b, branches in enumerate(part):
            for i, branch in enumerate(branches):
                legal[b, i] = False
                legal[b, i, [self.column[token] for token in branch.children]] = True
        logits = self.backbone.logits_of(states, self.alphabet).masked_fill(~legal.to(states.device), -torch.inf)
        return logits.double().softmax(dim=-1).cpu().numpy()

    def _spread(self, row: Expansion, branch: _Branch, choice: npt.NDArray[np.float64], anchor: int) -> list[_Prefix]:
        """Give a prefix's mass to the numbers one choice further on, and to new prefixes, which are returned."""
        row.nodes += len(branch.tokens)
        found = []
        for token, state in branch.children.items():
            mass = branch.prefix.mass * float(choice[self.column[token]])
            lowest, highest = self.space.range_of(state)
            if lowest == highest:  # what is forced has probability 1
                row.answers[lowest - self.space.low] = mass
            else:
                found.append(_Prefix(mass, state, anchor, (token,)))
        return found


def _with_ancestors(nodes: set[int], parents: Sequence[int]) -> set[int]:
    """Some nodes with all on their ways, without the root."""
    found: set[int] = set()
    for node in nodes:
        at = node
        while at and at not in found:
            found.add(at)
            at = parents[at]
    return found


def rectangle(rows: Sequence[Sequence[int]]) -> Tensor:
    """Return lists of integers as a tensor, padded with 0 on the right."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], dtype=torch.long)

"""Distributions over number grids too large for one pass: prefixes are expanded best-first, level by level."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from predgen.codecs.number_space import NumberSpace, NumberState
from predgen.engine.answer_tree import shared_head
from predgen.engine.backbone import Backbone
from predgen.engine.tree_pass import NodePass


@dataclass(frozen=True, slots=True)
class _Prefix:
    """A beginning of numbers that has not been expanded.

    Attributes:
        mass: Its probability.
        state: A state with two or more legal continuations.
        anchor: Node of the pass from which `tokens` lead there.
        tokens: Tokens to run; none for the root.
    """

    mass: float
    state: NumberState
    anchor: int
    tokens: tuple[int, ...]


@dataclass(slots=True)
class Expansion:
    """What is known of one row's distribution.

    Attributes:
        answers: Index of a number in the grid -> its probability.
        pending: Prefixes that were not expanded.
        nodes: Nodes run.
    """

    answers: dict[int, float] = field(default_factory=dict)
    pending: list[_Prefix] = field(default_factory=list)
    nodes: int = 0

    def needed(self, allowance: float, *, is_last: bool) -> list[_Prefix]:
        """Prefixes to expand, the most probable first, so that what is left weighs at most `allowance`.

        At the last level, a prefix that outweighs the best number so far is needed in any case: the most probable number
        may be behind it.
        """
        self.pending.sort(key=lambda prefix: -prefix.mass)
        masses = np.array([prefix.mass for prefix in self.pending])
        left = masses[::-1].cumsum()[::-1]  # mass of a prefix and all after it
        count = int((left > allowance).sum())
        if is_last and self.pending:
            best = max(self.answers.values(), default=None)
            count = max(count, 1 if best is None else int((masses > best).sum()))
        return self.pending[:count]


@torch.no_grad()
def expand(
    backbone: Backbone, nodes: NodePass, space: NumberSpace, max_unexpanded: float, nodes_per_pass: int
) -> list[Expansion]:
    """Expand each row's numbers until the mass of what is unexpanded is at most `max_unexpanded`.

    After the l-th of L levels, l/L of that mass may be left behind, so that no level uses up the allowance of the others.

    Args:
        backbone: The language model.
        nodes: A pass that has grown no nodes yet, made with the space's head.
        space: The numbers.
        max_unexpanded: Bound on the unexpanded mass, 0..1.
        nodes_per_pass: Most nodes to run at once.
    """
    _, root = shared_head(space)
    assert isinstance(root, NumberState), "states of a number space"
    rows = [Expansion(pending=[_Prefix(1.0, root, 0, ())]) for _ in range(len(nodes.parents))]
    levels, level = _levels(space), 0
    runner = _Runner(backbone, nodes, space, nodes_per_pass)
    while True:
        allowance, is_last = max_unexpanded * min(1.0, (level + 1) / levels), level + 1 >= levels
        chosen = [row.needed(allowance, is_last=is_last) for row in rows]
        if any(chosen):
            runner.expand(rows, chosen)
        elif is_last:
            return rows
        level += 1


def _levels(space: NumberSpace) -> int:
    """Most choices on the way to a number."""
    return space.width + (space.low < 0)


class _Runner:
    """Runs chosen prefixes and spreads their mass over what they lead to."""

    def __init__(self, backbone: Backbone, nodes: NodePass, space: NumberSpace, nodes_per_pass: int) -> None:
        self.backbone, self.nodes, self.space, self.nodes_per_pass = backbone, nodes, space, nodes_per_pass
        tokens = sorted({*space.characters.values()})
        self.alphabet = torch.tensor(tokens, device=nodes.parents.device)
        self.column = {token: i for i, token in enumerate(tokens)}

    def expand(self, rows: Sequence[Expansion], chosen: Sequence[list[_Prefix]]) -> None:
        """Expand prefixes of all rows, in as few forwards as `nodes_per_pass` allows."""
        width = max(map(len, chosen))
        longest = max(len(prefix.tokens) for prefixes in chosen for prefix in prefixes)
        step = max(1, self.nodes_per_pass // max(1, longest))
        for start in range(0, width, step):
            part = [prefixes[start : start + step] for prefixes in chosen]
            states, ends = self._run(part)
            log_probs = self._log_probs(states, part)
            for row, prefixes, values, anchors in zip(rows, part, log_probs, ends, strict=True):
                for prefix, choice, anchor in zip(prefixes, values, anchors, strict=False):
                    self._spread(row, prefix, choice, anchor)
        for row, prefixes in zip(rows, chosen, strict=True):
            done = {id(prefix) for prefix in prefixes}
            row.pending = [prefix for prefix in row.pending if id(prefix) not in done]

    def _run(self, part: Sequence[list[_Prefix]]) -> tuple[Tensor, list[list[int]]]:
        """Run the tokens of some prefixes; return the states behind them, and these states' nodes."""
        first = self.nodes.parents.shape[1]
        tokens: list[list[int]] = []
        parents: list[list[int]] = []
        ends: list[list[int]] = []
        for prefixes in part:
            row_tokens: list[int] = []
            row_parents: list[int] = []
            row_ends: list[int] = []
            for prefix in prefixes:
                at = prefix.anchor
                for token in prefix.tokens:
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
            grown = self.nodes.grow(_rectangle(tokens).to(device), _rectangle(parents).to(device))
            table, offset = torch.cat([table, grown], dim=1), first - 1
        places = _rectangle([[end - offset if end else 0 for end in row] for row in ends]).to(table.device)
        return table.gather(1, places[..., None].expand(-1, -1, table.shape[2])), ends

    def _log_probs(self, states: Tensor, part: Sequence[list[_Prefix]]) -> npt.NDArray[np.float64]:
        """Log-softmax over the legal tokens of each prefix, shape (rows, prefixes, alphabet)."""
        legal = torch.ones(*states.shape[:2], len(self.column), dtype=torch.bool)
        for b, prefixes in enumerate(part):
            for i, prefix in enumerate(prefixes):
                legal[b, i] = False
                legal[b, i, [self.column[token] for token in self.space.legal(prefix.state)]] = True
        logits = self.backbone.logits_of(states, self.alphabet).masked_fill(~legal.to(states.device), -torch.inf)
        return logits.double().log_softmax(dim=-1).cpu().numpy()

    def _spread(self, row: Expansion, prefix: _Prefix, choice: npt.NDArray[np.float64], anchor: int) -> None:
        """Give a prefix's mass to the numbers and prefixes one choice further on."""
        row.nodes += len(prefix.tokens)
        for token in self.space.legal(prefix.state):
            mass = prefix.mass * math.exp(choice[self.column[token]])
            state, tokens = self.space.advance(prefix.state, token), [token]
            legal = self.space.legal(state)
            while len(legal) == 1 and legal[0] != self.space.stop:
                tokens.append(legal[0])
                state = self.space.advance(state, legal[0])
                legal = self.space.legal(state)
            answer = self.space.answer_at(state)
            if answer is not None:
                row.answers[answer] = mass
            else:
                row.pending.append(_Prefix(mass, state, anchor, tuple(tokens)))


def _rectangle(rows: Sequence[Sequence[int]]) -> Tensor:
    """Lists of integers as a tensor, padded with 0 on the right."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], dtype=torch.long)

"""The trie of a finite answer set, laid out as tensors: which tokens to run, which choices to score, which answers."""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from predgen.codecs.base import FiniteSpace


@dataclass(frozen=True, slots=True)
class Layout:
    """The numbers behind an `AnswerTree`. Node 0 is the root; node i > 0 is the i-th token that may be run.

    Attributes:
        tokens: Token of each node but the root.
        parents: Parent of each node but the root; always a lower number.
        branches: Nodes with two or more legal continuations.
        alphabet: Every token that is legal at some branch, ascending.
        legal: Which tokens of the alphabet are legal at each branch.
        choices: For each answer, the choices on its way, as index into the flattened (branch, alphabet) table; a number
            beyond the table stands for none.
        content: For each answer, its nodes.
        content_mask: True for nodes, False for padding.
    """

    tokens: Int[Tensor, " N"]
    parents: Int[Tensor, " N"]
    branches: Int[Tensor, " R"]
    alphabet: Int[Tensor, " U"]
    legal: Bool[Tensor, "R U"]
    choices: Int[Tensor, "A D"]
    content: Int[Tensor, "A C"]
    content_mask: Bool[Tensor, "A C"]

    def to(self, device: torch.device) -> "Layout":
        """Return the same on another device."""
        return replace(self, **{name: getattr(self, name).to(device) for name in self.__slots__})


@dataclass
class _Node:
    """A node while the trie is walked."""

    state: Hashable
    token: int
    parent: int
    is_scored: bool = False
    answer: int | None = None
    number: int = 0
    children: list[int] = field(default_factory=list)


class AnswerTree:
    """All answers of a finite space.

    Tokens that every answer starts with form the `head`: they follow the prompt and are run along with it. The nodes
    below it are numbered so that those which a probability depends on come first: those with two or more legal
    continuations, and their ancestors. The others are forced, and a forced token has probability 1 (docs/concepts.md, tree pass).

    Args:
        space: The legal answers.

    Attributes:
        space: The legal answers.
        head: Content tokens shared by all answers.
        size: Number of answers.
        n_nodes: Content nodes below the head.
        n_scored: How many of them probabilities depend on.
        branch_of: State of the space -> its row in the table of choices.

    Example:
        >>> from predgen.codecs.trie import Trie
        >>> tree = AnswerTree(Trie([(4, 5, 6), (4, 5, 7, 8), (4, 9)], stop=0))
        >>> tree.head, tree.n_nodes, tree.n_scored
        ((4,), 5, 1)
    """

    def __init__(self, space: FiniteSpace) -> None:
        self.space = space
        self.size = space.size
        self.head, root = shared_head(space)
        nodes = _walk(space, root)
        order = [node for node in nodes[1:] if node.is_scored] + [node for node in nodes[1:] if not node.is_scored]
        for number, node in enumerate(order, start=1):
            node.number = number
        self.n_nodes, self.n_scored = len(order), sum(node.is_scored for node in order)
        branches = [node for node in nodes if len(space.legal(node.state) or ()) > 1]
        self.branch_of: dict[Hashable, int] = {node.state: row for row, node in enumerate(branches)}
        self._layouts = {torch.device("cpu"): _layout(space, nodes, order, branches)}

    def layout(self, device: torch.device) -> Layout:
        """The tree's tensors on a device; they are copied there once."""
        if device not in self._layouts:
            self._layouts[device] = self._layouts[torch.device("cpu")].to(device)
        return self._layouts[device]


def shared_head(space: FiniteSpace) -> tuple[tuple[int, ...], Hashable]:
    """Content tokens that every answer starts with, and the state behind them."""
    head: list[int] = []
    state = space.start
    while space.is_forced(state) and space.legal(state) != (space.stop,):
        legal = space.legal(state)
        assert legal is not None, "a finite space lists its tokens"
        head.append(legal[0])
        state = space.advance(state, legal[0])
    return tuple(head), state


def count_scored(space: FiniteSpace, limit: int) -> int:
    """Nodes below the head that probabilities depend on, counted no further than `limit` + 1."""
    _, root = shared_head(space)
    count, queue = 0, deque([root])
    while queue and count <= limit:
        state = queue.popleft()
        for token in space.legal(state) or ():
            if token != space.stop:
                child = space.advance(state, token)
                if _branches_below(space, child):
                    count += 1
                    queue.append(child)
    return min(count, limit + 1)


def _branches_below(space: FiniteSpace, state: Hashable) -> bool:
    """Whether a choice is left at a state or after it."""
    while space.is_forced(state):
        (token,) = space.legal(state) or ()
        if token == space.stop:
            return False
        state = space.advance(state, token)
    return True


def _walk(space: FiniteSpace, root: Hashable) -> list[_Node]:
    """All nodes, parents before children, the root first."""
    nodes = [_Node(root, -1, -1, answer=_answer(space, root))]
    for index, node in enumerate(nodes):  # grows while it is walked: breadth first
        for token in space.legal(node.state) or ():
            if token != space.stop:
                state = space.advance(node.state, token)
                node.children.append(len(nodes))
                nodes.append(_Node(state, token, index, answer=_answer(space, state)))
    for node in reversed(nodes):
        is_branch = len(space.legal(node.state) or ()) > 1
        node.is_scored = is_branch or any(nodes[child].is_scored for child in node.children)
    return nodes


def _answer(space: FiniteSpace, state: Hashable) -> int | None:
    """Index of the answer that may end here."""
    return space.answer_at(state) if space.stop in (space.legal(state) or ()) else None


def _layout(space: FiniteSpace, nodes: list[_Node], order: list[_Node], branches: list[_Node]) -> Layout:
    """Bring a walked trie into tensors."""
    legal = [space.legal(node.state) or () for node in branches]
    alphabet = sorted({token for tokens in legal for token in tokens})
    column = {token: i for i, token in enumerate(alphabet)}
    row_of = {id(node): row for row, node in enumerate(branches)}
    ends = sorted((node for node in nodes if node.answer is not None), key=lambda node: node.answer or 0)
    choices, content = [], []
    for end in ends:
        way = _way(nodes, end)
        taken = [node.token for node in way[1:]] + [space.stop]
        made = [(row_of[id(node)], column[token]) for node, token in zip(way, taken, strict=True) if id(node) in row_of]
        choices.append([row * len(alphabet) + place for row, place in made])
        content.append([node.number for node in way[1:]])
    allowed = torch.zeros(len(branches), len(alphabet), dtype=torch.bool)
    for row, tokens in enumerate(legal):
        allowed[row, [column[token] for token in tokens]] = True
    padded, mask = _padded(content, 0)
    return Layout(
        _ids([node.token for node in order]),
        _ids([nodes[node.parent].number for node in order]),
        _ids([node.number for node in branches]),
        _ids(alphabet),
        allowed,
        _padded(choices, allowed.numel())[0],
        padded,
        mask,
    )


def _way(nodes: list[_Node], end: _Node) -> list[_Node]:
    """Nodes from the root to `end`."""
    way = [end]
    while way[-1].parent >= 0:
        way.append(nodes[way[-1].parent])
    return way[::-1]


def _ids(values: list[int]) -> Int[Tensor, " N"]:
    """Integers as a tensor, none of them included."""
    return torch.tensor(values, dtype=torch.long)


def _padded(rows: list[list[int]], fill: int) -> tuple[Int[Tensor, "A W"], Bool[Tensor, "A W"]]:
    """Lists as one tensor, padded on the right, and where they are real."""
    width = max(map(len, rows), default=0)
    ids = torch.tensor([row + [fill] * (width - len(row)) for row in rows], dtype=torch.long).reshape(len(rows), width)
    mask = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in rows], dtype=torch.bool)
    return ids, mask.reshape(len(rows), width)


def choice_log_probs(logits: Float[Tensor, "B R U"], layout: Layout) -> Float[Tensor, "B R U"]:
    """Log-softmax over the legal tokens of each branch; -inf for the others."""
    return logits.masked_fill(~layout.legal, -torch.inf).log_softmax(dim=-1)


def answer_log_probs(choices: Float[Tensor, "B R U"], layout: Layout) -> Float[Tensor, "B A"]:
    """Log P(a|X) = sum over the choices on an answer's way; what is forced adds 0 (docs/concepts.md, tree pass)."""
    flat = torch.cat([choices.flatten(1), choices.new_zeros(len(choices), 1)], dim=1)  # B (R * U + 1)
    return flat[:, layout.choices].sum(dim=-1)

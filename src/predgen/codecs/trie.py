"""The finite set of legal answers of a codec, as a trie over content tokens."""

from collections.abc import Hashable, Iterable, Sequence

from predgen.codecs.base import FiniteSpace
from predgen.errors import CodecError


class Trie(FiniteSpace):
    """Trie of token sequences; nodes are content tokens, the stop is an edge, never a node (docs/concepts.md).

    Nodes are numbered in the order of their first appearance, the root is 0; `parents`, `tokens` and `depths` are
    aligned with them, so that a parent always comes before its children.

    Args:
        answers: Content token ids of each answer, without the stop. Answers may be prefixes of others.
        stop: Id of the stop token.

    Raises:
        CodecError: If there is no answer, one is empty, contains the stop, or stands twice.

    Example:
        >>> trie = Trie([(5, 6), (5,), (7,)], stop=0)
        >>> trie.legal(trie.start), trie.legal(1)
        ((5, 7), (0, 6))
        >>> trie.is_forced(3)
        True
    """

    def __init__(self, answers: Iterable[Sequence[int]], stop: int) -> None:
        self.stop = stop
        self.parents: list[int] = [-1]
        self.tokens: list[int] = [-1]
        self.depths: list[int] = [0]
        self._children: list[dict[int, int]] = [{}]
        self._answer_at: dict[int, int] = {}
        for index, answer in enumerate(answers):
            self._insert(tuple(answer), index)
        if not self._answer_at:
            raise CodecError("a trie needs at least one answer.")
        self._legal = [
            tuple(sorted([*children, *([stop] if node in self._answer_at else [])]))
            for node, children in enumerate(self._children)
        ]

    def _insert(self, answer: tuple[int, ...], index: int) -> None:
        """Add one answer's path."""
        if not answer or self.stop in answer:
            raise CodecError(f"answer {index} is {answer}: it must have a token, and not the stop token {self.stop}.")
        node = 0
        for token in answer:
            if token not in self._children[node]:
                self._children[node][token] = len(self.tokens)
                self.parents.append(node)
                self.tokens.append(token)
                self.depths.append(self.depths[node] + 1)
                self._children.append({})
            node = self._children[node][token]
        if node in self._answer_at:
            raise CodecError(f"answers {self._answer_at[node]} and {index} have the same tokens {answer}.")
        self._answer_at[node] = index

    @property
    def start(self) -> int:
        return 0

    def legal(self, state: Hashable) -> tuple[int, ...]:
        assert isinstance(state, int)
        return self._legal[state]

    def advance(self, state: Hashable, token: int) -> int:
        assert isinstance(state, int)
        try:
            return self._children[state][token]
        except KeyError:
            raise CodecError(f"token {token} is not legal at node {state}; legal are {self._legal[state]}.") from None

    @property
    def size(self) -> int:
        return len(self._answer_at)

    def answer_at(self, state: Hashable) -> int | None:
        return self._answer_at.get(state) if isinstance(state, int) else None

    def __len__(self) -> int:
        """Number of nodes, the root included."""
        return len(self.tokens)

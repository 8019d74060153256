"""Token sequences behind a prompt, numbered as the nodes of a trie: what begins alike is one node."""

from collections.abc import Iterable


class Chains:
    """Nodes behind one prompt; node 0 is the prompt's last token.

    Attributes:
        tokens: Token of each node, counted from 1.
        parents: Node that it hangs on.

    Example:
        >>> chains = Chains()
        >>> chains.way(0, (5, 6)), chains.way(0, (5, 7)), chains.parents
        ([1, 2], [1, 3], [0, 1, 1])
    """

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self._number: dict[tuple[int, int], int] = {}

    def way(self, at: int, tokens: Iterable[int]) -> list[int]:
        """Nodes of some tokens below a node, made where they are not there."""
        found = []
        for token in tokens:
            at = self.node(at, token)
            found.append(at)
        return found

    def node(self, parent: int, token: int) -> int:
        """The node of a token, which others may have made."""
        key = (parent, token)
        if key not in self._number:
            self.tokens.append(token)
            self.parents.append(parent)
            self._number[key] = len(self.tokens)
        return self._number[key]

    def forget(self, kept: int) -> None:
        """Drop all nodes but the first ones."""
        for key in zip(self.parents[kept:], self.tokens[kept:], strict=True):
            del self._number[key]
        del self.tokens[kept:], self.parents[kept:]

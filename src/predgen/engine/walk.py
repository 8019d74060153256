"""Answers as they are fed: the model's own tokens under an answer space's constraint, or gold ones where asked for."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from predgen.codecs.base import AnswerSpace


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

    def wanted(self) -> list[list[int | None]]:
        """Gold tokens to feed, by row and step; None where the model's own is fed."""
        is_gold = (self.mask & ~self.use_own).tolist()
        return [
            [token if fed else None for token, fed in zip(ids, row, strict=True)]
            for ids, row in zip(self.ids.tolist(), is_gold, strict=True)
        ]


class Walk:
    """Where the answers of a batch stand in their space, token by token.

    A gold token is fed only where it is legal after the fed prefix, else the model's own (SPEC 2.1).

    Args:
        space: The legal answers.
        batch: Number of rows.
        gold: Scheduled sampling; None: own tokens only.

    Attributes:
        states: State of each row.
        is_open: Whether a row has not stopped yet.
        tokens: Tokens fed so far, step by step; any id for closed rows.
        opens: Which rows were fed a content token, step by step.
    """

    def __init__(self, space: AnswerSpace, batch: int, gold: GoldFeed | None) -> None:
        self.space = space
        self.states: list[Hashable] = [space.start] * batch
        self.is_open = [True] * batch
        self.tokens: list[list[int]] = []
        self.opens: list[list[bool]] = []
        self._wanted = None if gold is None else gold.wanted()

    def step(self, own: Sequence[int]) -> bool:
        """Feed each open row a token, its own or gold, and close rows that stop; False when none is left open."""
        tokens = [self._token(row, token) for row, token in enumerate(own)]
        for row, token in enumerate(tokens):
            if self.is_open[row] and token == self.space.stop:
                self.is_open[row] = False
            elif self.is_open[row]:
                self.states[row] = self.space.advance(self.states[row], token)
        if not any(self.is_open):
            return False
        self.tokens.append(tokens)
        self.opens.append(list(self.is_open))
        return True

    def _token(self, row: int, own: int) -> int:
        """The token to feed a row."""
        step = len(self.tokens)
        if self._wanted is None or not self.is_open[row] or step >= len(self._wanted[row]):
            return own
        wanted = self._wanted[row][step]
        if wanted is None:
            return own
        legal = self.space.legal(self.states[row])
        is_legal = wanted != self.space.stop if legal is None else wanted in legal
        return wanted if is_legal else own

    def fed(self, device: torch.device) -> tuple[Int[Tensor, "B C"], Bool[Tensor, "B C"]]:
        """Content tokens fed, and where they are real."""
        batch = len(self.states)
        ids = torch.tensor(self.tokens, dtype=torch.long, device=device).reshape(-1, batch).T
        return ids, torch.tensor(self.opens, dtype=torch.bool, device=device).reshape(-1, batch).T

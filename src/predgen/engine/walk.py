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

    def answers(self) -> list[list[tuple[int, bool]]]:
        """Gold tokens of each row, with whether the model's own is fed in their place."""
        rows = zip(self.ids.tolist(), self.use_own.tolist(), self.mask.sum(dim=1).tolist(), strict=True)
        return [list(zip(ids[:length], own[:length], strict=True)) for ids, own, length in rows]


@dataclass(frozen=True, slots=True)
class OwnTokens:
    """What rows are fed that need own tokens.

    Attributes:
        ids: Content tokens, the model's own and gold ones; any valid id under the mask.
        mask: True for content tokens.
        scored: True for gold tokens that are legal after the fed prefix; False after a fed stop.
    """

    ids: Int[Tensor, "S C"]
    mask: Bool[Tensor, "S C"]
    scored: Bool[Tensor, "S T"]


class Walk:
    """Where the answers of a batch stand in their space, token by token.

    A gold token is fed only where it is legal after the fed prefix, else the model's own (docs/methods.md, scheduled sampling).

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
        self._gold = gold
        self._answers = [[]] * batch if gold is None else gold.answers()
        self._legal: list[list[bool]] = []

    def step(self, own: Sequence[int]) -> bool:
        """Feed each open row a token, its own or gold, and close rows that stop; False when none is left open."""
        self._look()
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

    def _look(self) -> None:
        """Note, once for each step, whose gold token is legal where the row stands: it may be fed, and it is scored."""
        if len(self._legal) == len(self.tokens):
            self._legal.append([self._is_legal(row, answer) for row, answer in enumerate(self._answers)])

    def _is_legal(self, row: int, answer: list[tuple[int, bool]]) -> bool:
        """Whether a row's gold token is legal at this step."""
        step = len(self.tokens)
        if not self.is_open[row] or step >= len(answer):
            return False
        legal = self.space.legal(self.states[row])
        return answer[step][0] != self.space.stop if legal is None else answer[step][0] in legal

    def _token(self, row: int, own: int) -> int:
        """The token to feed a row."""
        if not self._legal[-1][row]:
            return own
        token, use_own = self._answers[row][len(self.tokens)]
        return own if use_own else token

    def fed(self, device: torch.device) -> tuple[Int[Tensor, "B C"], Bool[Tensor, "B C"]]:
        """Content tokens fed, and where they are real."""
        batch = len(self.states)
        ids = torch.tensor(self.tokens, dtype=torch.long, device=device).reshape(-1, batch).T
        return ids, torch.tensor(self.opens, dtype=torch.bool, device=device).reshape(-1, batch).T

    def own_tokens(self, device: torch.device) -> OwnTokens:
        """What was fed, and which gold tokens were legal."""
        assert self._gold is not None, "scheduled sampling has gold answers"
        self._look()  # where a row still stands
        width = self._gold.ids.shape[1]
        legal = torch.tensor(self._legal[:width], dtype=torch.bool, device=device).T  # S steps
        return OwnTokens(*self.fed(device), torch.nn.functional.pad(legal, (0, width - legal.shape[1])))

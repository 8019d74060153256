"""The space of free text: every token is legal, the stop too, until a budget is used up."""

from collections.abc import Hashable

from predgen.codecs.base import AnswerSpace


class FreeText(AnswerSpace):
    """No constraint but a length: what unconstrained decoding follows.

    Args:
        vocabulary_size: Number of token ids the model can write.
        stop: Id of the stop token.
        budget: Content tokens after which only the stop is legal.
    """

    def __init__(self, vocabulary_size: int, stop: int, budget: int) -> None:
        self.stop = stop
        self.budget = budget
        self._everything = tuple(range(vocabulary_size))

    @property
    def start(self) -> int:
        return 0

    def legal(self, state: Hashable) -> tuple[int, ...]:
        assert isinstance(state, int)
        return self._everything if state < self.budget else (self.stop,)

    def advance(self, state: Hashable, token: int) -> int:
        assert isinstance(state, int)
        return state + 1

"""What a codec is: the two-way map answer value <-> token ids, and the space of its legal answers (docs/methods.md, codecs)."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from predgen.core import Target

TokenId = Annotated[int, Field(ge=0, lt=1 << 31)]
DAMAGED = "Save the model again, or copy it anew."
"""How a saved codec that cannot be read is repaired, in `plain_data.typed`'s terms."""


class AnswerSpace(ABC):
    """The legal answers as an automaton over token ids.

    A *state* stands for the content tokens written so far. The stop token is an edge that ends an answer; it leads to
    no state. Decoding, sampling and scoring know answers only through this interface.

    Attributes:
        stop: Id of the stop token.
    """

    stop: int

    @property
    @abstractmethod
    def start(self) -> Hashable:
        """State of the empty answer."""

    @abstractmethod
    def legal(self, state: Hashable) -> tuple[int, ...] | None:
        """Token ids that may come next, ascending, the stop among them where the answer may end.

        None: every token but the stop is legal (free text). Never empty.
        """

    @abstractmethod
    def advance(self, state: Hashable, token: int) -> Hashable:
        """State after writing content token `token`.

        Raises:
            CodecError: If `token` is not legal at `state`, or is the stop.
        """

    def is_forced(self, state: Hashable) -> bool:
        """Whether exactly one token may come next."""
        legal = self.legal(state)
        return legal is not None and len(legal) == 1


class FiniteSpace(AnswerSpace):
    """Legal answers that can be counted: those of a trie. A state belongs to one prefix only.

    Attributes:
        size: Number of legal answers.
    """

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of legal answers."""

    @abstractmethod
    def answer_at(self, state: Hashable) -> int | None:
        """Index of the answer that ends at `state`, 0 <= index < size; None where none does."""

    def index_of(self, content: Sequence[int]) -> int | None:
        """Index of the answer with these content tokens; None where they are only the start of others.

        Raises:
            CodecError: If they are not legal.
        """
        state = self.start
        for token in content:
            state = self.advance(state, token)
        return self.answer_at(state)


@dataclass(frozen=True, slots=True)
class Decoded:
    """An answer read back from its tokens.

    Attributes:
        value: Label text or number.
        flags: See `core.Prediction.flags`.
    """

    value: str | float
    flags: frozenset[str] = frozenset()


class Codec(ABC):
    """Answer value <-> token ids. Ids are fixed when the codec is made; text is never tokenised again later.

    Attributes:
        name: Registry name.
        space: The legal answers.
        max_tokens: Longest answer in tokens, stop included.
    """

    name: ClassVar[str]
    space: AnswerSpace
    max_tokens: int

    @property
    def token_ids(self) -> frozenset[int]:
        """Every token id that answers name, the stop among them; free text may have others."""
        return frozenset((self.space.stop,))

    @abstractmethod
    def encode(self, target: Target) -> tuple[int, ...]:
        """Return the answer's content tokens followed by the stop token.

        Raises:
            CodecError: If the value is not one this codec can write.
        """

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> Decoded:
        """Read content tokens (without the stop) back into a value.

        Raises:
            CodecError: If the ids are not a legal answer.
        """

    @abstractmethod
    def parse(self, text: str) -> str | float | None:
        """Read freely generated text; None where it cannot be read (a parse failure, never a guess)."""

    @abstractmethod
    def weighed_positions(self, ids: Sequence[int]) -> tuple[bool, ...]:
        """Mark, for each of the answer's tokens (stop included), those that director `ordered` weighs (docs/methods.md, directors)."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data from which `from_dict` makes an equal codec."""

    @classmethod
    @abstractmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Codec":
        """Rebuild a codec from `to_dict`'s data."""


class FiniteCodec(Codec):
    """A codec whose answers can be counted.

    Attributes:
        space: The legal answers.
    """

    space: FiniteSpace

    @abstractmethod
    def value_at(self, index: int) -> str | float:
        """Return the value of an answer by its index in the space."""

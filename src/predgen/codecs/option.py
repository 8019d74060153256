"""Options of multiple choice as answers: texts that are others in every row (method "options")."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from predgen.codecs.base import DAMAGED, AnswerSpace, Codec, Decoded, TokenId
from predgen.codecs.spelling import PLAIN_TURN, Turn, stop_id, text_ids
from predgen.core import Target
from predgen.errors import CodecError
from predgen.plain_data import typed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class OptionSpace(AnswerSpace):
    """Any text of at most `budget` content tokens; its state is the number of tokens written.

    Which of these texts a row offers is not known here: rows carry their options, and each is scored as it stands.

    Args:
        stop: Id of the stop token.
        budget: Most content tokens, >= 1.
    """

    def __init__(self, stop: int, budget: int) -> None:
        self.stop = stop
        self.budget = budget

    @property
    def start(self) -> int:
        return 0

    def legal(self, state: Hashable) -> tuple[int, ...] | None:
        return (self.stop,) if state == self.budget else None

    def advance(self, state: Hashable, token: int) -> int:
        assert isinstance(state, int), "states of this space are numbers"
        if token == self.stop or state >= self.budget:
            raise CodecError(f"token {token} cannot follow {state} of {self.budget} tokens; write the stop to end.")
        return state + 1


@dataclass(frozen=True, slots=True)
class OptionData:
    """What an option codec is saved as."""

    stop: TokenId
    budget: Annotated[int, Field(ge=1, lt=1 << 31)]
    codec: str = "option"


class OptionCodec(Codec):
    """Option text <-> token ids.

    Options are part of a row, as its prompt is, so they are tokenised when the row is: `encode` and `decode` need the
    tokenizer that `attach` names. Blanks at an option's ends are not written.

    Args:
        space: Texts up to the longest training option.
    """

    name: ClassVar[str] = "option"
    space: OptionSpace

    def __init__(self, space: OptionSpace) -> None:
        self.space = space
        self.max_tokens = space.budget + 1
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._turn = PLAIN_TURN

    @classmethod
    def fit(
        cls, options: Sequence[Sequence[str]], tokenizer: "PreTrainedTokenizerBase", *, turn: Turn = PLAIN_TURN
    ) -> "OptionCodec":
        """Take the longest option of the training rows as the limit.

        Raises:
            CodecError: If there are none, or one cannot be spelled.
        """
        texts = {text.strip() for row in options for text in row}
        if not texts:
            raise CodecError("`options` is empty, but the option codec is made from training rows. Pass at least one.")
        longest = max(len(text_ids(tokenizer, text, turn)) for text in texts)
        codec = cls(OptionSpace(stop_id(tokenizer, turn), longest))
        codec.attach(tokenizer, turn)
        return codec

    def attach(self, tokenizer: "PreTrainedTokenizerBase", turn: Turn = PLAIN_TURN) -> None:
        """Use `tokenizer` for options, which stand in `turn`; it must be the base model's."""
        self._tokenizer, self._turn = tokenizer, turn

    def encode(self, target: Target) -> tuple[int, ...]:
        return (*text_ids(self._attached(), str(target.value).strip(), self._turn), self.space.stop)

    def decode(self, ids: Sequence[int]) -> Decoded:
        return Decoded(str(self._attached().decode(list(ids))).strip())

    def parse(self, text: str) -> str | None:
        return text.strip() or None

    def weighed_positions(self, ids: Sequence[int]) -> tuple[bool, ...]:
        return (False,) * len(ids)  # no digits, no order

    def to_dict(self) -> dict[str, Any]:
        return {"codec": self.name, "stop": self.space.stop, "budget": self.space.budget}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "OptionCodec":
        saved: OptionData = typed(
            OptionData, dict(data), "saved option codec is damaged", error=CodecError, repair=DAMAGED
        )
        return cls(OptionSpace(saved.stop, saved.budget))

    def _attached(self) -> "PreTrainedTokenizerBase":
        """The tokenizer."""
        if self._tokenizer is None:
            raise CodecError("this codec has no tokenizer, which options need. Call `attach(tokenizer)`.")
        return self._tokenizer

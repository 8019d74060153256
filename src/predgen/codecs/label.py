"""Class labels as token sequences (docs/methods.md, codec `label`)."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from predgen.codecs.base import DAMAGED, Decoded, FiniteCodec, TokenId
from predgen.codecs.spelling import PLAIN_TURN, Turn, stop_id, text_ids
from predgen.codecs.trie import Trie
from predgen.core import Target
from predgen.errors import CodecError
from predgen.plain_data import typed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class LabelData:
    """What a label codec is saved as."""

    labels: list[str]
    tokens: list[list[TokenId]]
    stop: TokenId
    codec: str = "label"


class LabelCodec(FiniteCodec):
    r"""Label text <-> token ids. Labels may be prefixes of others: the stop edge decides.

    Attributes:
        labels: The labels in class order.
        space: Trie of the labels' tokens; `space.answer_at` gives a label's index.

    Args:
        labels: At least two different labels, without blanks at their ends.
        tokens: Content token ids of each label, without the stop.
        stop: Id of the stop token.

    Raises:
        CodecError: If there are fewer than two labels, one is blank or stands twice, or two have the same tokens.

    Example:
        >>> codec = LabelCodec(["no", "not sure"], [(4,), (4, 7)], stop=0)
        >>> codec.encode(Target("not sure")), codec.decode([4]).value, codec.parse(" No\n")
        ((4, 7, 0), 'no', 'no')
    """

    name: ClassVar[str] = "label"
    space: Trie

    def __init__(self, labels: Sequence[str], tokens: Sequence[Sequence[int]], stop: int) -> None:
        self.labels = _check_labels(labels)
        self._tokens = tuple(tuple(ids) for ids in tokens)
        if len(self._tokens) != len(self.labels):
            raise CodecError(
                f"there are {len(self.labels)} labels but {len(self._tokens)} token sequences: give one each."
            )
        _check_distinct(self.labels, self._tokens)
        self.space = Trie(self._tokens, stop)
        self.max_tokens = max(map(len, self._tokens)) + 1
        self._indices = {label: index for index, label in enumerate(self.labels)}

    @classmethod
    def fit(
        cls, labels: Sequence[str], tokenizer: "PreTrainedTokenizerBase", *, turn: Turn = PLAIN_TURN
    ) -> "LabelCodec":
        """Look up how `tokenizer` spells each label.

        Args:
            labels: Labels in class order.
            tokenizer: Tokenizer of the base model.
            turn: Where answers stand.

        Returns:
            The codec.

        Raises:
            CodecError: As in the class, or if the tokenizer cannot spell a label.
        """
        checked = _check_labels(labels)
        return cls(checked, [text_ids(tokenizer, label, turn) for label in checked], stop_id(tokenizer, turn))

    def index(self, label: str | float) -> int:
        """Class index of a label.

        Args:
            label: Label text.

        Returns:
            Index, 0 <= index < K.

        Raises:
            CodecError: If the label was not among the codec's.
        """
        if isinstance(label, str) and label in self._indices:
            return self._indices[label]
        near = difflib.get_close_matches(str(label), self.labels, n=3)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise CodecError(
            f"label {label!r} is not one of the {len(self.labels)} labels this codec was made with: "
            f"{_some(self.labels)}.{hint} Correct the row, or train with a row of that label."
        )

    def value_at(self, index: int) -> str:
        return self.labels[index]

    @property
    def token_ids(self) -> frozenset[int]:
        return frozenset(token for ids in (*self._tokens, (self.space.stop,)) for token in ids)

    def encode(self, target: Target) -> tuple[int, ...]:
        return (*self._tokens[self.index(target.value)], self.space.stop)

    def decode(self, ids: Sequence[int]) -> Decoded:
        return Decoded(self.text(ids))

    def text(self, ids: Sequence[int]) -> str:
        """Return the label that content tokens spell (without the stop); CodecError where they spell none."""
        index = self.space.answer_at(self._walk(ids)[-1])
        if index is None:
            raise CodecError(f"tokens {tuple(ids)} end inside a label: go on with one of the space's legal tokens.")
        return self.labels[index]

    def parse(self, text: str) -> str | None:
        """Read a label from free text: the exact label, else the only one that differs in case alone."""
        found = text.strip()
        if found in self._indices:
            return found
        alike = [label for label in self.labels if label.casefold() == found.casefold()]
        return alike[0] if len(alike) == 1 else None

    def weighed_positions(self, ids: Sequence[int]) -> tuple[bool, ...]:
        if not ids or ids[-1] != self.space.stop:
            raise CodecError(
                f"answer {tuple(ids)} must end with the stop token {self.space.stop}. Pass what `encode` returns."
            )
        self.text(ids[:-1])
        states = self._walk(ids[:-1])[:-1]
        return (*(not self.space.is_forced(state) for state in states), False)

    def _walk(self, ids: Sequence[int]) -> list[int]:
        """Trie nodes before each token and after the last."""
        nodes = [self.space.start]
        for token in ids:
            nodes.append(self.space.advance(nodes[-1], token))
        return nodes

    def to_dict(self) -> dict[str, Any]:
        return {
            "codec": self.name,
            "labels": list(self.labels),
            "tokens": [list(ids) for ids in self._tokens],
            "stop": self.space.stop,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "LabelCodec":
        saved: LabelData = typed(
            LabelData, dict(data), "saved label codec is damaged", error=CodecError, repair=DAMAGED
        )
        return cls(saved.labels, saved.tokens, saved.stop)


def _check_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the labels, or say what is wrong with them."""
    checked = tuple(labels)
    seen: set[str] = set()
    for index, label in enumerate(checked):
        if not isinstance(label, str) or not label or label != label.strip():
            raise CodecError(f"label {index} is {label!r}, but a label is text without blanks at its ends. Strip it.")
        if label in seen:
            raise CodecError(f"label {label!r} stands twice in {_some(checked)}. Give each class a label of its own.")
        seen.add(label)
    if len(checked) < 2:
        raise CodecError(
            f"labels are {list(checked)}: one class only, or none, but a choice needs two. Add rows of another."
        )
    return checked


def _check_distinct(labels: tuple[str, ...], tokens: tuple[tuple[int, ...], ...]) -> None:
    """Refuse two labels that the tokenizer spells alike, as lower-casing ones do."""
    first: dict[tuple[int, ...], str] = {}
    for label, ids in zip(labels, tokens, strict=True):
        if ids in first:
            raise CodecError(
                f"labels {first[ids]!r} and {label!r} have the same tokens {ids}, but they must differ to be told apart. "
                "Choose another text for one of them."
            )
        first[ids] = label


def _some(labels: Sequence[str], limit: int = 10) -> str:
    """Labels for a message, not more than `limit`."""
    return ", ".join(map(repr, labels[:limit])) + (", ..." if len(labels) > limit else "")

"""Examples -> token ids: prompt by template, answer by codec; only prompt fields are ever shortened."""

import string
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from predgen.codecs.base import Codec, FiniteCodec
from predgen.codecs.option import OptionCodec
from predgen.codecs.spelling import may_give_up, plain_text_tokenizer
from predgen.core import Example, Target
from predgen.data.cells import some_labels
from predgen.data.chat import ChatFrame, turn_of
from predgen.data.shorten import Shortener
from predgen.errors import CodecError, ConfigError, DataError
from predgen.target_scale import TargetScale


@dataclass(frozen=True, slots=True)
class Encoded:
    """One row as token ids.

    Attributes:
        row_id: See `core.Example.row_id`.
        prompt_ids: BOS (where the tokenizer's family uses one) and the rendered template.
        answer_ids: Content tokens and the stop; empty for rows without a target, or without a codec.
        weighed: Per answer token: whether director `ordered` weighs it.
        target: Class index, or the raw number; nan without a target.
        weight: Weight of the row's loss.
        is_truncated: Whether a prompt field was shortened.
        options: Answer tokens of every option (method "options"); empty for others.
        standardised: The number as heads learn it, in standard deviations from the mean; None: `target` is learned.
        answer: Index of the answer among all that the codec can write; None where they cannot be counted, or it has none.
    """

    row_id: int
    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    weighed: tuple[bool, ...]
    target: float
    weight: float
    is_truncated: bool
    options: tuple[tuple[int, ...], ...] = ()
    standardised: float | None = None
    answer: int | None = None

    @property
    def n_tokens(self) -> int:
        """Tokens of prompt and answer."""
        return len(self.prompt_ids) + len(self.answer_ids)

    def unweighted(self) -> "Encoded":
        """Return the row as one that counts nothing."""
        return replace(self, weight=0.0)


def uses_bos(tokenizer: Any) -> bool:  # noqa: ANN401  (tokenizers of transformers are untyped)
    """Whether this tokenizer's family starts a text with BOS."""
    bos = tokenizer.bos_token_id
    with may_give_up(tokenizer):
        with_special = tokenizer.encode("a", add_special_tokens=True)
    return bos is not None and with_special[:1] == [bos]


class Encoder:
    """Turns `Example`s into `Encoded` rows.

    Args:
        tokenizer: A fast tokenizer of transformers.
        template: Prompt template with `{field}`s, ending without blanks.
        codec: Writes the answer; None for the Predictor.
        labels: Class labels in order; empty for numbers.
        max_length: Longest prompt + answer, in tokens.
        truncate_field: Field to shorten first in rows that are too long; None: that row's longest field.
        truncate: What to cut from a field, one of `shorten.PARTS`.
        scale: How numbers are written and learned; None: as they are.
        frame: A chat model's frame around the prompt; None: the template alone.

    Attributes:
        pieces: The template as (literal text, field name or None).
        max_prompt_tokens: What is left of `max_length` beside the longest answer.
    """

    def __init__(
        self,
        tokenizer: Any,  # noqa: ANN401
        template: str,
        codec: Codec | None,
        *,
        labels: tuple[str, ...] = (),
        max_length: int = 512,
        truncate_field: str | None = None,
        truncate: str = "tail",
        scale: TargetScale | None = None,
        frame: ChatFrame | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.frame = frame
        self._plain = plain_text_tokenizer(tokenizer)
        self.scale = scale
        self.template = template
        self.codec = codec
        if isinstance(codec, OptionCodec):
            codec.attach(tokenizer, turn_of(frame))  # options are texts of the rows, so they are tokenised with them
        self.labels = labels
        self.max_length = max_length
        self.max_prompt_tokens = max_length - (codec.max_tokens if codec else 0)
        self.pieces = [(literal, name) for literal, name, _, _ in string.Formatter().parse(template)]
        self._bos = [tokenizer.bos_token_id] if uses_bos(tokenizer) else []
        added = (
            tokenizer.added_tokens_decoder.values()
        )  # chat marks such as <|turn|> have no name among the special tokens
        self._special = {*tokenizer.all_special_tokens, *(token.content for token in added if token.special)} - {""}
        self._classes = {label: index for index, label in enumerate(labels)}
        names = [name for _, name in self.pieces if name]
        self._shorten = Shortener(
            Counter(names),
            self._encode_text,
            self._offsets,
            first=truncate_field,
            part=truncate,
        )
        if truncate_field is not None and truncate_field not in names:
            raise ConfigError(
                f"`truncate_field` is {truncate_field!r}, but the prompt has the fields {', '.join(names)}."
            )
        if self.max_prompt_tokens < 1:
            raise ConfigError(
                f"an answer needs up to {codec.max_tokens if codec else 0} tokens, so `max_length` {max_length} leaves no"
                " room for a prompt. Raise `max_length`, or take a base model with a longer context."
            )

    def _offsets(self, text: str) -> list[tuple[int, int]]:
        """Where the tokens of an ordinary text start and end, in characters. A method: estimators are pickled."""
        offsets: list[tuple[int, int]] = self._as_text(text).offsets
        return offsets

    def encode(self, example: Example, *, with_answer: bool = True) -> Encoded:
        """Return the row's ids.

        Args:
            example: The row.
            with_answer: Whether to write the answer's tokens; rows that are only scored need none, and may hold
                numbers outside the codec's range.

        Raises:
            DataError: If the template alone is too long, the prompt is empty, or the label is not one of the classes.
            CodecError: If the codec cannot write the target.
        """
        options = self._options(example)
        longest = max(map(len, options), default=0)
        prompt, is_truncated = self._prompt_ids(example, min(self.max_prompt_tokens, self.max_length - longest))
        if not prompt:
            raise DataError(
                f"row {example.row_id + 1}: the prompt is empty, but a model needs a token to start from. Drop the row, or"
                " put some text into the template."
            )
        answer: tuple[int, ...] = ()
        weighed: tuple[bool, ...] = ()
        if with_answer and example.target is not None and self.codec is not None:
            answer = (
                options[int(self._target(example))] if options else self.codec.encode(self._written(example.target))
            )
            weighed = self.codec.weighed_positions(answer)
        return Encoded(
            example.row_id,
            tuple(prompt),
            answer,
            weighed,
            self._target(example),
            example.weight,
            is_truncated,
            options,
            self._standardised(example) if with_answer else None,
            self.codec.space.index_of(answer[:-1]) if answer and isinstance(self.codec, FiniteCodec) else None,
        )

    def _written(self, target: Target) -> Target:
        """The target as it is written."""
        if self.scale is None or self.labels:
            return target
        return replace(target, value=self.scale.written(float(target.value)))

    def _standardised(self, example: Example) -> float | None:
        """The number as heads learn it; None where there is none."""
        if self.scale is None or self.labels or example.target is None:
            return None
        return self.scale.standardised(float(example.target.value))

    def _options(self, example: Example) -> tuple[tuple[int, ...], ...]:
        """Answer tokens of a row's options."""
        if not example.options or self.codec is None:
            return ()
        try:
            return tuple(self.codec.encode(Target(text)) for text in example.options)
        except CodecError as error:
            raise DataError(f"row {example.row_id + 1}: one of its options cannot be written: {error}") from error

    def _target(self, example: Example) -> float:
        """Class index or number of a row; nan without a target."""
        if example.target is None:
            return float("nan")
        value = example.target.value
        if not self.labels:
            return float(value)
        if value not in self._classes:
            raise DataError(
                f"row {example.row_id + 1} has the label {value!r}, which is not among {some_labels(self.labels)}. Correct "
                "it, leave the row out, or train with rows that have it."
            )
        return float(self._classes[str(value)])

    def _prompt_ids(self, example: Example, limit: int) -> tuple[list[int], bool]:
        """Ids of the rendered prompt, shortened inside its fields where it has more than `limit` tokens."""
        fields = self._shorten.within_reach(example.fields, limit)
        ids = self._encode_text(fields)
        if len(ids) <= limit:
            return ids, fields != example.fields
        shorter = self._shorten(fields, ids, limit)
        if shorter is None:
            empty = len(self._encode_text(dict.fromkeys(example.fields, "")))
            raise DataError(
                f"row {example.row_id + 1}: `prompt` has {empty} tokens with all its fields empty, but `max_length`"
                f" {self.max_length} leaves {limit} beside the answer. Raise `max_length`, or shorten the template."
            )
        return shorter, True

    def _encode_text(self, fields: Mapping[str, str]) -> list[int]:
        """Tokenise the rendered template; special tokens written inside a row's text stay ordinary text."""
        parts: list[tuple[str, bool]] = []
        for literal, name in self.pieces:
            parts.append((literal, False))
            if name:
                parts.append((fields[name], True))
        while parts and not parts[-1][0].rstrip():
            parts.pop()
        if parts:  # a prompt ends without blanks: the separator belongs to the answer
            parts[-1] = (parts[-1][0].rstrip(), parts[-1][1])
        if self.frame is not None:
            parts = [(self.frame.before, False), *parts, (self.frame.after, False)]
        joined, marks = (
            "".join(text for text, _ in parts),
            sum(self._marks(text) for text, is_field in parts if not is_field),
        )
        if self._marks(joined) == marks:
            ids = self._ids(joined)
        elif not marks:  # a template without special tokens: all is ordinary text
            ids = list(self._as_text(joined).ids)
        else:
            ids = [i for text, is_field in parts for i in (self._as_text(text).ids if is_field else self._ids(text))]
        return ids if ids[: len(self._bos)] == self._bos else self._bos + ids

    def _marks(self, text: str) -> int:
        """How often strings of special tokens stand in a text."""
        return sum(text.count(mark) for mark in self._special)

    def _ids(self, text: str) -> list[int]:
        """Tokenise without adding BOS or EOS; strings of special tokens become these."""
        with may_give_up(self.tokenizer):
            return list(self.tokenizer.encode(text, add_special_tokens=False))

    def _as_text(self, text: str) -> Any:  # noqa: ANN401  (an `Encoding` of tokenizers)
        """Tokenise without adding BOS or EOS; strings of special tokens are ordinary text."""
        with may_give_up(self.tokenizer):
            return self._plain.encode(text, add_special_tokens=False)

r"""Math answers: a free rationale, a cue, then a number of any length (docs/methods.md, codec `answer`).

"Half of 48 is 24. 48 + 24 = 72.\n#### 72", written as rationale tokens, cue tokens, separator, one token per character.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from predgen.codecs.answer_space import AnswerAutomaton, AnswerState
from predgen.codecs.base import DAMAGED, Codec, Decoded, TokenId
from predgen.codecs.decimals import MAX_DIGITS, read_decimal, to_decimal, to_grid
from predgen.codecs.spelling import PLAIN_TURN, Turn, char_ids, continuation_ids, separator_ids, stop_id, text_ids
from predgen.core import ANSWER_TOLERANCE, Target
from predgen.errors import CodecError
from predgen.plain_data import typed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CUE = "####"  # GSM8K's own mark (Cobbe et al. 2021, arXiv:2110.14168)
_EQUAL = Decimal(ANSWER_TOLERANCE)
NOISE = Decimal("1e-5")  # 3.7999999523, a float32 3.8, needs one decimal; well below that
MOST_DECIMALS = 4  # enough to write any number within that: the error is 5e-5 at most
LEAST_DECIMALS = 2  # money: a question may ask for it where no training answer had cents
_INTEGER_DIGITS = (4, 12)  # least and most, where taken from the training targets

_BLANK = "[ \u00a0\u2009\u202f]"  # also the narrow blanks that typesetting puts between groups of digits
_NUMBER = re.compile(
    rf"\s*([+-]?)\s*\$?\s*([+-]?)([0-9]{{1,3}}(?:(,|{_BLANK})[0-9]{{3}}(?:\4[0-9]{{3}})*)(?![0-9])|[0-9]+)?(?:\.([0-9]+))?"
    rf"(?:{_BLANK}([0-9]+)/([0-9]+))?\$?[.,;:!?]?(?=\s|$)"
)
# What may follow on the number's line makes it another number, or one of several: "7 or 8", "9 - 4", "5 million".
_GOES_ON = re.compile(
    rf"{_BLANK}*(?:[^\w\s]*[0-9]|[-+*/^=<>%&~|\u00b1\u00d7\u00f7\u2010-\u2015\u2044\u221a\u2248\u2260\u2264\u2265]"
    r"|(?:or|to|and\s+\W*[0-9]\S*|plus|minus|times|divided|over|percent|per\s+cent|hundred|thousand|million|billion|trillion|dozen)\b)",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"\*\*|\\boxed\{|\}|\\[()\[\]]|\\(?=\$)")  # bold; LaTeX's box, formula brackets and escaped "$"


@dataclass(frozen=True, slots=True)
class AnswerData:
    """What an answer codec is saved as; `AnswerAutomaton` says what its fields mean."""

    cue: list[TokenId]
    separator: list[TokenId]
    characters: dict[str, TokenId]
    stop: TokenId
    budget: Annotated[int, Field(lt=1 << 31)]
    max_integer_digits: Annotated[int, Field(le=MAX_DIGITS)]
    max_decimals: Annotated[int, Field(le=MAX_DIGITS)]
    codec: str = "answer"


class AnswerCodec(Codec):
    """Rationale and number <-> token ids.

    Rationales are tokenised when they are encoded, which needs the tokenizer that `fit` got; the codec keeps it in memory
    and does not save it. A codec made by `from_dict` decodes, parses and constrains as before, and encodes numbers; to
    encode rationales again (to resume training), `attach` the tokenizer.

    Blanks at a rationale's ends are not written, and a blank rationale counts as none. A rationale that contains the cue
    is refused: the number would be read from its middle.

    Attributes:
        space: The legal answers.
        with_rationale: Whether a rationale stands before the cue; False where no training target has one.

    Args:
        space: The legal answers. A budget of 0: no rationale.

    Example:
        >>> characters = {character: 10 + i for i, character in enumerate("0123456789.-")}
        >>> space = AnswerAutomaton((4, 4), (5,), characters, stop=0, budget=0, max_integer_digits=4, max_decimals=2)
        >>> codec = AnswerCodec(space)
        >>> codec.encode(Target(7.50)), codec.decode([4, 4, 5, 17, 20, 15]).value, codec.parse("so #### $1,072.")
        ((4, 4, 5, 17, 20, 15, 0), 7.5, 1072.0)
    """

    name: ClassVar[str] = "answer"
    space: AnswerAutomaton

    def __init__(self, space: AnswerAutomaton) -> None:
        self.space = space
        self.with_rationale = space.budget > 0
        self.max_tokens = space.max_tokens
        self._texts = {token: character for character, token in space.characters.items()}
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._turn = PLAIN_TURN
        self._rationales: dict[str, tuple[int, ...]] = {}

    @classmethod
    def fit(
        cls,
        targets: Sequence[Target],
        tokenizer: "PreTrainedTokenizerBase",
        *,
        rationale_budget: int | None = None,
        max_integer_digits: int | None = None,
        max_decimals: int | None = None,
        turn: Turn = PLAIN_TURN,
    ) -> "AnswerCodec":
        """Look up tokens and set the limits of rationale and number from the training targets.

        Args:
            targets: Training targets, at least one.
            tokenizer: Tokenizer of the base model.
            rationale_budget: Most rationale tokens, >= 1; None: the longest training rationale. Not used where no
                target has a rationale.
            max_integer_digits: Most digits before the point, 1..15; None: one more than the targets need, within 4..12.
            max_decimals: Most digits after the point, 0..4; None: as many as the targets need, within 2..4.
            turn: Where answers stand.

        Returns:
            The codec.

        Raises:
            CodecError: If a training rationale is longer than the budget or contains the cue, a number does not fit the
                limits, or the tokenizer cannot spell something.
        """
        if not targets:
            raise CodecError(
                "`targets` is empty, but the answer codec is made from training targets. Pass at least one."
            )
        values = [to_decimal(target.value, f"target {index}") for index, target in enumerate(targets)]
        rationales = _spell_rationales(targets, tokenizer, turn)
        budget = max(map(len, rationales.values()), default=0)
        if rationales and rationale_budget is not None:
            budget = _check_limit("rationale_budget", rationale_budget, 1, 10**6)
        space = AnswerAutomaton(
            continuation_ids(tokenizer, "\n" + CUE) if rationales else text_ids(tokenizer, CUE, turn),
            separator_ids(tokenizer),
            char_ids(tokenizer, "0123456789.-"),
            stop_id(tokenizer, turn),
            budget,
            _choose_integer_digits(values, max_integer_digits),
            _choose_decimals(values, max_decimals),
        )
        codec = cls(space)
        codec.attach(tokenizer, turn)
        codec._rationales.update(rationales)
        codec._check_targets(targets)
        return codec

    def attach(self, tokenizer: "PreTrainedTokenizerBase", turn: Turn = PLAIN_TURN) -> None:
        """Use `tokenizer` to encode rationales, which stand in `turn`; both must be those that `fit` got."""
        self._tokenizer, self._turn = tokenizer, turn
        self._rationales.clear()

    @property
    def token_ids(self) -> frozenset[int]:
        space = self.space
        return frozenset((*space.cue, *space.separator, *space.characters.values(), space.stop))

    def encode(self, target: Target) -> tuple[int, ...]:
        rationale = self._encode_rationale(_rationale(target))
        text = self._write(to_decimal(target.value))
        space = self.space
        return (*rationale, *space.cue, *space.separator, *(space.characters[c] for c in text), space.stop)

    def decode(self, ids: Sequence[int]) -> Decoded:
        """Read an answer's number.

        The flag "out_of_budget" says that the cue was forced. That is so exactly where the rationale has as many tokens
        as the budget: nothing but the cue was legal then. (The longest training rationale is such a case, too.)
        """
        last = self._walk(ids)[-1]
        if self.space.stop not in (self.space.legal(last) or ()):
            raise CodecError(
                f"the {len(ids)} tokens end before the answer does. Go on with one of the space's legal tokens."
            )
        is_cut = self.with_rationale and last.used == self.space.budget
        value = read_decimal(*_split(last.text))
        assert value is not None
        return Decoded(value, frozenset({"out_of_budget"}) if is_cut else frozenset())

    def parse(self, text: str) -> float | None:
        """Read the number after the last "####"; None where there is none, or it can be read in two ways ("12%", "7 or 8").

        Allowed around it: thousands commas or blanks, a fraction after a whole number ("5 1/2"), "$", bold and LaTeX
        marks, a punctuation mark, and words after a blank.
        """
        _, cue, rest = text.rpartition(CUE)
        rest = _MARKUP.sub("", rest).replace("\u2212", "-")
        match = _NUMBER.match(rest) if cue else None
        if match is None or not (match[3] or match[5]) or (match[1] and match[2]) or _GOES_ON.match(rest, match.end()):
            return None
        value = read_decimal(re.sub(r"\D", "", match[3] or ""), match[5] or "", match[1] or match[2])
        return value if value is None or match[6] is None else _with_fraction(value, match)

    def weighed_positions(self, ids: Sequence[int]) -> tuple[bool, ...]:
        if not ids or ids[-1] != self.space.stop:
            raise CodecError(f"the answer must end with the stop token {self.space.stop}. Pass what `encode` returns.")
        self.decode(ids[:-1])
        states = self._walk(ids[:-1])[:-1]
        return (*(state.phase == "number" and not self.space.is_forced(state) for state in states), False)

    def to_dict(self) -> dict[str, Any]:
        return {"codec": self.name, **self.space.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "AnswerCodec":
        saved: AnswerData = typed(
            AnswerData, dict(data), "saved answer codec is damaged", error=CodecError, repair=DAMAGED
        )
        return cls(
            AnswerAutomaton(
                saved.cue,
                saved.separator,
                saved.characters,
                saved.stop,
                saved.budget,
                saved.max_integer_digits,
                saved.max_decimals,
            )
        )

    def _check_targets(self, targets: Sequence[Target]) -> None:
        """Encode every training target once, so that nothing fails in the middle of an epoch."""
        for index, target in enumerate(targets):
            try:
                self.encode(target)
            except CodecError as error:
                raise CodecError(f"target {index}: {error}") from error

    def _encode_rationale(self, text: str | None) -> tuple[int, ...]:
        """Tokens of a rationale that fits the budget and leads to the cue."""
        if text is None:
            return ()
        if not self.with_rationale:
            raise CodecError(f"rationale {text[:40]!r} came, but no training target had one. Leave the rationale out.")
        ids = self._rationales.get(text)
        if ids is None:
            if self._tokenizer is None:
                raise CodecError(
                    "this codec was loaded without the tokenizer that rationales need. Call `attach(tokenizer)`."
                )
            ids = self._rationales[text] = text_ids(self._tokenizer, text, self._turn)
        if len(ids) > self.space.budget:
            raise CodecError(
                f"rationale {text[:40]!r}... has {len(ids)} tokens, but `rationale_budget` is {self.space.budget}. Raise it, "
                "or drop the row."
            )
        if CUE in text or self.space.reads_cue_early(ids):
            raise CodecError(
                f"rationale {text[:40]!r}... contains the cue {CUE!r} or ends like its beginning, but the cue must stand "
                "once, before the number. Remove it from the rationale column."
            )
        return ids

    def _write(self, value: Decimal) -> str:
        """Canonical decimal notation: no leading zeros, no trailing zeros, no minus zero."""
        places, digits = self.space.max_decimals, self.space.max_integer_digits
        rounded = Decimal(to_grid(value, places)).scaleb(-places)
        if abs(rounded) >= 10**digits:
            raise CodecError(
                f"value {value} has more than {digits} digits before the point. Raise `max_integer_digits`."
            )
        if abs(rounded - value) > _EQUAL:
            raise CodecError(
                f"value {value} needs more than {places} decimals to be right within 1e-4. Raise `max_decimals`."
            )
        text = f"{rounded:f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return "0" if text == "-0" else text

    def _walk(self, ids: Sequence[int]) -> list[AnswerState]:
        """States before each token and after the last."""
        states = [self.space.start]
        for token in ids:
            states.append(self.space.advance(states[-1], token))
        return states


def _with_fraction(whole: float, match: "re.Match[str]") -> float | None:
    """5.5 of "5 1/2"; None where what follows the whole number is no proper fraction of it."""
    above, below = int(match[6]), int(match[7])
    if match[5] is not None or not 0 < above < below:
        return None
    is_negative = "-" in (match[1], match[2])
    return whole - above / below if is_negative else whole + above / below


def _rationale(target: Target) -> str | None:
    """Rationale as it is written: without blanks at its ends, None if nothing is left."""
    return (target.rationale or "").strip() or None


def _spell_rationales(
    targets: Sequence[Target], tokenizer: "PreTrainedTokenizerBase", turn: Turn
) -> dict[str, tuple[int, ...]]:
    """Tokens of every rationale, by its text."""
    spelled: dict[str, tuple[int, ...]] = {}
    for index, text in enumerate(map(_rationale, targets)):
        if text and text not in spelled:
            try:
                spelled[text] = text_ids(tokenizer, text, turn)
            except CodecError as error:
                raise CodecError(f"rationale of target {index}: {error}") from error
    return spelled


def _split(text: str) -> tuple[str, str, str]:
    """Digits before the point, after it, and the sign."""
    whole, _, fraction = text.removeprefix("-").partition(".")
    return whole, fraction, "-" if text.startswith("-") else ""


def _choose_integer_digits(values: Sequence[Decimal], declared: int | None) -> int:
    """Most digits before the point."""
    if declared is not None:
        return _check_limit("max_integer_digits", declared, 1, MAX_DIGITS - MOST_DECIMALS + 1)
    least, most = _INTEGER_DIGITS
    return min(max(max(len(str(int(abs(value)))) for value in values) + 1, least), most)


def _choose_decimals(values: Sequence[Decimal], declared: int | None) -> int:
    """Most digits after the point."""
    if declared is not None:
        return _check_limit("max_decimals", declared, 0, MOST_DECIMALS)
    return max(LEAST_DECIMALS, *(_needed_decimals(value) for value in values))


def _needed_decimals(value: Decimal) -> int:
    """Fewest decimals that write a value up to float noise."""
    for places in range(MOST_DECIMALS):
        if abs(Decimal(to_grid(value, places)).scaleb(-places) - value) <= NOISE:
            return places
    return MOST_DECIMALS


def _check_limit(name: str, value: int, least: int, most: int) -> int:
    """Return a limit, or say what is wrong with it."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise CodecError(
            f"`{name}` is {value!r}, but must be a whole number {least}..{most}, or None to take it from training."
        )
    return value

"""The kinds of questions that can be asked about a state, and everything that is wrong with one, told at once."""

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from predgen.errors import QuestionError, QuestionFault

MOST_OPTIONS = 255
"""Most options of a choice, and levels of a score."""
MOST_NUMBERS = 10_000
"""Most numbers of a grid."""

_YES = ("yes", "true", "1", "positive")
_NO = ("no", "false", "0", "negative")

Value = str | bool


@dataclass(frozen=True, slots=True)
class Described:
    """An option or a level.

    Attributes:
        value: What is answered: its own words. Options may be true and false, too, which differ from the texts.
        description: What it means, for the model to read.
    """

    value: Value
    description: str | None = None

    @property
    def text(self) -> str:
        """The value as it is written, in one line."""
        return str(self.value).lower() if isinstance(self.value, bool) else " ".join(self.value.split())


@dataclass(frozen=True, slots=True)
class YesNo:
    """Is something so? The answer is P(yes).

    Attributes:
        instructions: The question.
        true: What yes means.
        false: What no means.

    Raises:
        QuestionError: If something is wrong with it.

    Example:
        >>> YesNo("Is it urgent?").described[0].value
        'yes'
    """

    instructions: str
    true: str | None = None
    false: str | None = None

    def __post_init__(self) -> None:
        refuse(
            [
                *_text_faults("instructions", self.instructions),
                *_descriptions(("true", self.true), ("false", self.false)),
            ]
        )

    @property
    def described(self) -> tuple[Described, Described]:
        """Its two answers, yes first."""
        return Described("yes", self.true), Described("no", self.false)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of several options? The answer is a probability for each.

    Attributes:
        instructions: The question.
        options: 2 to 255, in their own words; their order changes no figure. Texts, a mapping to descriptions, or `Described`.

    Raises:
        QuestionError: If something is wrong with it.

    Example:
        >>> [option.value for option in Choice("Which team?", ["sales", "tech"]).options]
        ['sales', 'tech']
    """

    instructions: str
    options: tuple[Described, ...]

    def __init__(self, instructions: str, options: Mapping[str, str | None] | Iterable[Value | Described]) -> None:
        object.__setattr__(self, "instructions", instructions)
        object.__setattr__(self, "options", _described(options))
        refuse([*_text_faults("instructions", instructions), *_option_faults("options", self.options)])


@dataclass(frozen=True, slots=True)
class Score:
    """How much, in ordered levels? The answer is a probability for each level, and the expected level, counted from 0.

    Attributes:
        instructions: The question.
        levels: 2 to 255, the lowest first. Texts, a mapping to descriptions, or `Described`.

    Raises:
        QuestionError: If something is wrong with it.
    """

    instructions: str
    levels: tuple[Described, ...]

    def __init__(self, instructions: str, levels: Mapping[str, str | None] | Iterable[str | Described]) -> None:
        object.__setattr__(self, "instructions", instructions)
        object.__setattr__(self, "levels", _described(levels))
        refuse([*_text_faults("instructions", instructions), *_option_faults("levels", self.levels)])


@dataclass(frozen=True, slots=True)
class NumberQuestion:
    """How many? The answer is a probability for every number from `minimum` to `maximum` in steps of `step`.

    Attributes:
        instructions: The question.
        minimum: Lowest number.
        maximum: Highest number, which the steps have to reach.
        step: Distance of neighbours, > 0; at most 10,000 numbers.

    Raises:
        QuestionError: If something is wrong with it.

    Example:
        >>> NumberQuestion("How old?", 0.0, 1.0, 0.25).numbers
        (Decimal('0.00'), Decimal('0.25'), Decimal('0.50'), Decimal('0.75'), Decimal('1.00'))
    """

    instructions: str
    minimum: float
    maximum: float
    step: float = 1.0

    def __post_init__(self) -> None:
        faults = [
            *_text_faults("instructions", self.instructions),
            *_grid_faults(self.minimum, self.maximum, self.step),
        ]
        refuse(faults)

    @property
    def numbers(self) -> tuple[Decimal, ...]:
        """All numbers, ascending, with as many decimals as they need."""
        low, step = _decimal(self.minimum), _decimal(self.step)
        count = int((_decimal(self.maximum) - low) / step) + 1
        places = max(0, -min(int(part.normalize().as_tuple().exponent) for part in (low, step)))
        return tuple((low + i * step).quantize(Decimal(1).scaleb(-places)) for i in range(count))


TypedQuestion = YesNo | Choice | Score | NumberQuestion


def refuse(faults: Sequence[QuestionFault]) -> None:
    """Raise what was found.

    Raises:
        QuestionError: If there is anything.
    """
    if faults:
        raise QuestionError(faults)


def answers_of(question: TypedQuestion) -> tuple[Described, ...] | tuple[Decimal, ...]:
    """Return what may be answered, in the order of all probabilities."""
    if isinstance(question, YesNo):
        return question.described
    if isinstance(question, Choice):
        return question.options
    return question.levels if isinstance(question, Score) else question.numbers


def yes_and_no(labels: Sequence[str]) -> list[int] | None:
    """Return the places of the labels for yes and for no; None where labels are others.

    Example:
        >>> yes_and_no(("No", "Yes")), yes_and_no(("cat", "dog"))
        ([1, 0], None)
    """
    plain = [label.strip().lower() for label in labels]
    pairs = [(plain.index(yes), plain.index(no)) for yes, no in zip(_YES, _NO, strict=True) if {yes, no} == {*plain}]
    return [*pairs[0]] if pairs else None


def _described(given: Mapping[str, str | None] | Iterable[Value | Described]) -> tuple[Described, ...]:
    """Options or levels as they may be given; a text alone is none of them, though it can be iterated over."""
    if isinstance(given, Mapping):
        return tuple(Described(value, description) for value, description in given.items())
    if isinstance(given, str):
        return ()
    return tuple(one if isinstance(one, Described) else Described(one) for one in given)


def _text_faults(where: str, text: str) -> Iterator[QuestionFault]:
    """What is wrong with a text that has to be there."""
    if not text.strip():
        yield QuestionFault(where, f"is {text!r}, but must be a text with a visible character")


def _descriptions(*given: tuple[str, str | None]) -> Iterator[QuestionFault]:
    """What is wrong with texts that may be left out."""
    for where, text in given:
        if text is not None:
            yield from _text_faults(where, text)


def _option_faults(where: str, given: Sequence[Described]) -> Iterator[QuestionFault]:
    """What is wrong with options or levels."""
    if not 2 <= len(given) <= MOST_OPTIONS:
        yield QuestionFault(where, f"has {len(given)} entries, but must be a list of 2 to {MOST_OPTIONS}")
    seen: dict[Hashable, int] = {}
    for i, one in enumerate(given):
        if not isinstance(one.value, bool):
            yield from _text_faults(f"{where}.{i}", one.value)
        yield from _descriptions((f"{where}.{i}.description", one.description))
        key = (isinstance(one.value, bool), one.text)
        if key in seen:
            yield QuestionFault(f"{where}.{i}", f"is {one.value!r}, which stands at {seen[key]} already")
        seen.setdefault(key, i)


def _grid_faults(minimum: float, maximum: float, step: float) -> Iterator[QuestionFault]:
    """What is wrong with a grid of numbers."""
    found = []
    for where, value in (("minimum", minimum), ("maximum", maximum), ("step", step)):
        if not math.isfinite(value):
            yield QuestionFault(where, f"is {value!r}, but must be a finite number")
        else:
            found.append(_decimal(value))
    if len(found) < 3:
        return
    low, high, width = found
    if width <= 0:
        yield QuestionFault("step", f"is {step}, but must be above 0")
    elif high <= low:
        yield QuestionFault("maximum", f"is {maximum}, but must be above `minimum` {minimum}")
    elif (high - low) / width >= MOST_NUMBERS:
        count = int((high - low) / width) + 1
        yield QuestionFault(
            "step", f"is {step}, which makes {count:,} numbers, but at most {MOST_NUMBERS:,} are allowed"
        )
    elif (high - low) % width:
        yield QuestionFault("maximum", f"is {maximum}, which steps of {step} from `minimum` {minimum} do not reach")


def _decimal(value: float) -> Decimal:
    """A number as it is written."""
    return Decimal(repr(float(value)))

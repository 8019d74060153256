"""Questions from plain data, by the keys of decision models' protocols; every fault is told at once, unknown keys are refused.

- noul, predicate: instructions, criteria {true, false}
- choice: instructions, criteria {option: description} or choices [{value, description}]
- score: instructions, criteria [level, ...] or levels [{label, description}]
- number: instructions, minimum, maximum, step
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from predgen.errors import QuestionError, QuestionFault
from predgen.near_names import near_matches
from predgen.questions.kinds import Choice, Described, NumberQuestion, Score, TypedQuestion, YesNo

_From = TypeVar("_From")
_To = TypeVar("_To")


def read_questions(data: object) -> dict[str, TypedQuestion]:
    """Read named questions.

    Args:
        data: Name -> question.

    Raises:
        QuestionError: With the faults of all of them.

    Example:
        >>> read_questions({"urgent": {"type": "noul", "instructions": "Is it urgent?"}})["urgent"].instructions
        'Is it urgent?'
    """
    if not isinstance(data, Mapping) or not data:
        raise QuestionError([QuestionFault("questions", f"is {data!r}, but must map names to questions, one or more")])
    return collect(data, read_question)


def as_questions(given: Mapping[str, object]) -> dict[str, TypedQuestion]:
    """Return questions as they may be given in Python: typed, a text for a yes/no question, or plain data.

    Raises:
        QuestionError: With the faults of all of them.

    Example:
        >>> as_questions({"urgent": "Is it urgent?"})["urgent"]
        YesNo(instructions='Is it urgent?', true=None, false=None)
    """
    if not isinstance(given, Mapping) or not given:
        raise QuestionError([QuestionFault("questions", f"is {given!r}, but must map names to questions, one or more")])
    return collect(given, lambda one: one if isinstance(one, TypedQuestion) else _from_text_or_data(one))


def _from_text_or_data(given: object) -> TypedQuestion:
    """A question that is no typed one."""
    return YesNo(given) if isinstance(given, str) else read_question(given)


def collect(given: Mapping[str, _From], make: Callable[[_From], _To]) -> dict[str, _To]:
    """Make something of each of some named things, or raise what is wrong with all of them.

    Raises:
        QuestionError: If `make` raises it; names stand before the keys of its faults.
    """
    found, faults = {}, []
    for name, one in given.items():
        try:
            found[str(name)] = make(one)
        except QuestionError as error:
            faults += [QuestionFault(f"{name}.{fault.where}".rstrip("."), fault.what) for fault in error.faults]
    if faults:
        raise QuestionError(faults)
    return found


def read_question(data: object) -> TypedQuestion:
    """Read one question.

    Raises:
        QuestionError: With everything that is wrong with it.
    """
    if not isinstance(data, Mapping):
        raise QuestionError([QuestionFault("", f"is {data!r}, but must be an object with `type` and `instructions`")])
    kind = data.get("type")
    if not isinstance(kind, str) or kind not in _KINDS:
        near = near_matches(kind, _KINDS) if isinstance(kind, str) else ""
        raise QuestionError([QuestionFault("type", f"is {kind!r}.{near} Allowed: {', '.join(_KINDS)}")])
    make, keys = _KINDS[kind]
    reader = _Reader(data)
    reader.refuse_others(f"a {kind} question", ("instructions", *keys))
    question = None
    try:
        question = make(reader)
    except QuestionError as error:
        reader.faults += [QuestionFault(reader.place_of(fault.where), fault.what) for fault in error.faults]
    if reader.faults or question is None:
        raise QuestionError(reader.faults)
    return question


class _Reader:
    """Takes typed parts out of a question, and notes what is of another type.

    In the place of such a part it hands out one that is allowed, so that what else is wrong with the question shows, too.

    Args:
        data: The question.

    Attributes:
        faults: What was found so far.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data
        self.faults: list[QuestionFault] = []

    def refuse_others(self, what: str, keys: Sequence[str]) -> None:
        """Note keys that nobody reads."""
        for key in self.data:
            if key not in ("type", "name", *keys):
                self._note(str(key), f"is no key of {what}.{near_matches(str(key), keys)}")

    @property
    def instructions(self) -> str:
        """The question's text."""
        return self._text("instructions", self.data.get("instructions"))

    def meanings(self) -> tuple[str | None, str | None]:
        """What yes and no mean."""
        given = self.data.get("criteria")
        if given is None:
            return None, None
        if not isinstance(given, Mapping) or {*given} - {"true", "false"}:
            self._note("criteria", f"is {given!r}, but must be an object with `true` and `false`")
            return None, None
        return self._description("criteria.true", given.get("true")), self._description(
            "criteria.false", given.get("false")
        )

    def options(self, key: str, value: str) -> list[Described]:
        """Options or levels: a mapping to descriptions, or a list, under `criteria`; a list of objects under `key`."""
        if key in self.data and "criteria" in self.data:
            self._note(key, "stands beside `criteria`; leave one of them out")
        if key not in self.data:
            key = "criteria"
            given = self.data.get(key)
            if isinstance(given, Mapping) and value == "value":
                return [Described(str(name), self._description(f"{key}.{name}", text)) for name, text in given.items()]
            if isinstance(given, list) and value == "label":
                return [Described(self._text(f"{key}.{i}", one, f"{i}")) for i, one in enumerate(given)]
        elif isinstance(self.data[key], list):
            return [self._object(f"{key}.{i}", one, value, str(i)) for i, one in enumerate(self.data[key])]
        form = "list" if value == "label" or key != "criteria" else "object"
        self._note(key, f"is {self.data.get(key)!r}, but must be a {form} with 2 entries or more")
        return [Described("1"), Described("2")]

    def numbers(self, *keys: str) -> list[float]:
        """Numbers that have to be there."""
        given = [self.data.get(key) for key in keys]
        wrong = [isinstance(one, bool) or not isinstance(one, int | float) for one in given]
        for key, one, is_wrong in zip(keys, given, wrong, strict=True):
            if is_wrong:
                self._note(key, f"is {one!r}, but must be a number")
        return [0.0, 1.0, 1.0] if any(wrong) else [float(one) for one in given if one is not None]

    def _object(self, where: str, given: object, value: str, instead: str) -> Described:
        """An option or a level that is an object."""
        if not isinstance(given, Mapping) or {*given} - {value, "description"}:
            self._note(where, f"is {given!r}, but must be an object with `{value}` and, if need be, `description`")
            return Described(instead)
        found = given.get(value)
        if not (value == "value" and isinstance(found, bool)):
            found = self._text(f"{where}.{value}", found, instead)
        return Described(found, self._description(f"{where}.description", given.get("description")))

    def _text(self, where: str, given: object, instead: str = "?") -> str:
        """A text that has to be there."""
        if isinstance(given, str):
            return given
        self._note(where, f"is {given!r}, but must be a text")
        return instead

    def _description(self, where: str, given: object) -> str | None:
        """A text that may be left out."""
        return None if given is None else self._text(where, given)

    def place_of(self, where: str) -> str:
        """Where in the data a part of a typed question stands."""
        first, _, rest = where.partition(".")
        if first in ("true", "false"):
            return f"criteria.{where}"
        if first in ("options", "levels"):
            first = next((key for key in ("choices", "levels") if key in self.data), "criteria")
        return f"{first}.{rest}".rstrip(".")

    def _note(self, where: str, what: str) -> None:
        """Note a fault."""
        self.faults.append(QuestionFault(where, what))


_KINDS: dict[str, tuple[Callable[[_Reader], TypedQuestion], tuple[str, ...]]] = {
    "noul": (lambda reader: YesNo(reader.instructions, *reader.meanings()), ("criteria",)),
    "predicate": (lambda reader: YesNo(reader.instructions, *reader.meanings()), ("criteria",)),
    "choice": (lambda reader: Choice(reader.instructions, reader.options("choices", "value")), ("criteria", "choices")),
    "score": (lambda reader: Score(reader.instructions, reader.options("levels", "label")), ("criteria", "levels")),
    "number": (
        lambda reader: NumberQuestion(reader.instructions, *reader.numbers("minimum", "maximum", "step")),
        ("minimum", "maximum", "step"),
    ),
}

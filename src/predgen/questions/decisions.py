"""Files of decisions: a state, questions about it and their answers with probabilities, one JSON object a line.

    {"state": ..., "questions": {name: question}, "answers": {name: answer}}

Questions have the keys of `questions.reading`; a list of questions, each with its `name`, is read, too, and so is `input` in the
place of `state`. An answer is what an answer of the protocols holds, a bare value, or null. Other keys of a line are left alone.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from predgen.data.sources import read_rows
from predgen.errors import DataError, QuestionError, QuestionFault
from predgen.questions.kinds import Choice, Described, NumberQuestion, Score, TypedQuestion, YesNo
from predgen.questions.reading import collect, read_questions
from predgen.questions.wording import State

ROUNDING = 0.01
"""How far probabilities of an answer may sum to something else than 1: they are written with few digits, and then normalised."""
_LINES_NAMED = 5
_Made = TypeVar("_Made")
_POINT_KEYS = {"noul": "noul", "choice": "choice", "score": "score", "number": "value"}


@dataclass(frozen=True, slots=True)
class Decision:
    """One line.

    Attributes:
        line: Its number, from 1.
        state: Text, or JSON data.
        questions: Name -> question.
        answers: Name -> probabilities of everything that may be answered, in the order of `kinds.answers_of`; names without an
            answer are left out.
    """

    line: int
    state: State
    questions: Mapping[str, TypedQuestion]
    answers: Mapping[str, tuple[float, ...]]

    @property
    def missing(self) -> int:
        """Questions without an answer."""
        return len(self.questions) - len(self.answers)


def read_decisions(path: str | Path) -> list[Decision]:
    """Read a file of decisions, .jsonl.

    Args:
        path: The file.

    Raises:
        DataError: If it cannot be read, or lines contradict themselves; the first five are named with all that is wrong.

    Example:
        >>> read_decisions("cases.jsonl")[0].answers["urgent"]  # doctest: +SKIP
        (0.9, 0.1)
    """
    found, wrong = [], []
    for line, row in enumerate(read_rows(path, reader="jsonl"), start=1):
        try:
            found.append(_decision(line, row))
        except QuestionError as error:
            wrong.append(f"line {line}: " + "; ".join(f"`{fault.where}` {fault.what}" for fault in error.faults))
    if wrong:
        more = f"; and {len(wrong) - _LINES_NAMED} more lines" if len(wrong) > _LINES_NAMED else ""
        raise DataError(
            f"{str(path)!r} holds {len(wrong)} of {len(wrong) + len(found)} lines that are no decisions: "
            f"{'; '.join(wrong[:_LINES_NAMED])}{more}. Correct the lines; an answer that is not known is null or left out."
        )
    return found


def _decision(line: int, row: Mapping[str, Any]) -> Decision:
    """One line, or everything that is wrong with it."""
    faults = [QuestionFault(key, "is missing") for key in ("questions",) if key not in row]
    state = row.get("state", row.get("input"))
    if not isinstance(state, str | Mapping | list):
        faults.append(QuestionFault("state", f"is {state!r}, but must be a text, an object or a list"))
    if "state" in row and "input" in row:
        faults.append(QuestionFault("input", "stands beside `state`; leave one of them out"))
    questions: dict[str, TypedQuestion] = {}
    if not faults:
        try:
            named = _named(row["questions"], "questions", None)
            questions = _below("questions", lambda: read_questions(named))
        except QuestionError as error:
            faults += error.faults
    if faults:
        raise QuestionError(faults)
    answers = _named(row.get("answers"), "answers", [*questions])
    known = {name: (questions[name], answer) for name, answer in answers.items() if answer is not None}
    return Decision(line, state, questions, _below("answers", lambda: collect(known, lambda one: gold_of(*one))))


def _below(key: str, make: Callable[[], _Made]) -> _Made:
    """Make something of what stands below a key, before which the key stands where something is wrong."""
    try:
        return make()
    except QuestionError as error:
        raise QuestionError(
            [QuestionFault(f"{key}.{where}".rstrip("."), what) for where, what in error.faults]
        ) from None


def _named(data: object, key: str, known: Sequence[str] | None) -> dict[str, Any]:
    """Things by name, given as a mapping or a list; a list of answers follows the questions, or has names."""
    if data is None and known is not None:
        return {}
    found: dict[str, Any] = {}
    faults = []
    if isinstance(data, Mapping):
        found = {str(name): one for name, one in data.items()}
    elif isinstance(data, list):
        for i, one in enumerate(data):
            name = one.get("name") if isinstance(one, Mapping) else None
            if name is None:
                name = known[i] if known is not None and i < len(known) else str(i + 1)
            if name in found:
                faults.append(QuestionFault(f"{key}.{i}", f"has the name {name!r}, which another has, too"))
            found[str(name)] = one
    else:
        faults.append(QuestionFault(key, f"is {data!r}, but must be an object or a list"))
    if known is not None:
        faults += [
            QuestionFault(f"{key}.{name}", "answers no question of the line") for name in found if name not in known
        ]
    if faults:
        raise QuestionError(faults)
    return found


def gold_of(question: TypedQuestion, answer: object) -> tuple[float, ...]:
    """Return the probabilities that an answer states, of everything that may be answered.

    Args:
        question: The question.
        answer: true or false, P(yes), an option, a level or its number, a number; or an object as the protocols answer, whose
            `probabilities` are by name or a list of objects with `value` and `probability`.

    Raises:
        QuestionError: If it is no answer to this question, or contradicts itself.
    """
    faults: list[QuestionFault] = []
    found = _Gold(question, faults).read(answer)
    if faults or found is None:
        raise QuestionError(faults)
    return found


class _Gold:
    """Reads one answer.

    Args:
        question: What it answers.
        faults: Where faults are noted.
    """

    def __init__(self, question: TypedQuestion, faults: list[QuestionFault]) -> None:
        self.question, self.faults = question, faults
        kinds = {YesNo: "noul", Choice: "choice", Score: "score", NumberQuestion: "number"}
        self.kind = kinds[type(question)]
        self.places = dict(_places(question))

    def read(self, answer: object) -> tuple[float, ...] | None:
        """The probabilities, or None where faults were noted."""
        if not isinstance(answer, Mapping):
            return self._point("", answer)
        said = answer.get("type", self.kind)
        if (said == "predicate" and self.kind != "noul") or said not in (self.kind, "predicate"):
            self._note("type", f"is {said!r}, but the question is of type {self.kind!r}")
            return None
        point_key = _POINT_KEYS[self.kind]
        if "probabilities" in answer:
            told = self._shares(answer["probabilities"])
            if told is not None and self.kind == "choice" and point_key in answer:
                self._agrees(answer[point_key], told)
            return told
        if self.kind == "noul":
            return self._point("noul", answer.get("noul", answer.get("probability")))
        if self.kind == "score":
            self._note("probabilities", "is missing: an expected level says nothing of the levels")
            return None
        return self._point(point_key, answer.get(point_key))

    def _point(self, where: str, value: object) -> tuple[float, ...] | None:
        """One answer that is certain; a number between 0 and 1 of a yes/no question is P(yes)."""
        if self.kind == "noul" and not isinstance(value, bool | str):
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                self._note(where, f"is {value!r}, but must be true, false or a probability from 0 to 1")
                return None
            return float(value), 1.0 - float(value)
        place = self._place(where, value)
        return None if place is None else tuple(float(i == place) for i in range(self.size))

    @property
    def size(self) -> int:
        """How many answers there are."""
        return max(self.places.values()) + 1

    def _place(self, where: str, value: object) -> int | None:
        """Place of an answer among all."""
        key = _key(self.question, value)
        if key in self.places:
            return self.places[key]
        named = [repr(one.value) for one in _options(self.question)][:10]
        allowed = f" Allowed: {', '.join(named)}." if named else " It is no number of the question's grid."
        self._note(where, f"is {value!r}, which is none of the question's answers.{allowed}")
        return None

    def _shares(self, given: object) -> tuple[float, ...] | None:
        """Probabilities of several answers; those that are not named have none."""
        pairs = list(_pairs(given))
        if not pairs:
            self._note("probabilities", f"is {given!r}, but must map answers to probabilities, or list both")
            return None
        shares = [0.0] * self.size
        before = len(self.faults)
        for value, share in pairs:
            place = self._place("probabilities", value)
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
                self._note(f"probabilities.{value}", f"is {share!r}, but must be a probability from 0 to 1")
            elif place is not None:
                shares[place] += float(share)
        total = math.fsum(shares)
        if len(self.faults) == before and abs(total - 1) > ROUNDING:
            self._note("probabilities", f"sum to {total:.6g}, but must sum to 1")
        return None if len(self.faults) > before else tuple(share / total for share in shares)

    def _agrees(self, value: object, told: Sequence[float]) -> None:
        """Note where the option that is named is not the most probable one."""
        place = self._place("choice", value)
        if place is not None and told[place] < max(told) - ROUNDING:
            self._note(
                "choice", f"is {value!r}, but has the probability {told[place]:.4g} where another has {max(told):.4g}"
            )

    def _note(self, where: str, what: str) -> None:
        """Note a fault."""
        self.faults.append(QuestionFault(where, what))


def _options(question: TypedQuestion) -> Sequence[Described]:
    """Options, levels, or yes and no; none of numbers."""
    if isinstance(question, YesNo):
        return question.described
    if isinstance(question, Choice):
        return question.options
    return question.levels if isinstance(question, Score) else ()


def _places(question: TypedQuestion) -> Iterator[tuple[object, int]]:
    """What an answer may be named by, and its place."""
    if isinstance(question, NumberQuestion):
        yield from ((number, place) for place, number in enumerate(question.numbers))
        return
    if isinstance(question, YesNo):
        yield from ((_key(question, True), 0), (_key(question, False), 1))
    for place, one in enumerate(_options(question)):
        yield _key(question, one.value), place
    if isinstance(question, Score):  # levels count from 0; a level whose text is a number is named by its text
        texts = {one.text for one in question.levels}
        yield from ((str(i), i) for i in range(len(question.levels)) if str(i) not in texts)


def _key(question: TypedQuestion, value: object) -> object:
    """What an answer is looked up by: numbers as decimals, texts and truth values apart."""
    if isinstance(question, NumberQuestion):
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return (
            Decimal(repr(float(value))).normalize()
            if is_number and isinstance(value, int | float)
            else _text_number(value)
        )
    if isinstance(value, bool):
        is_text = isinstance(question, Score)
        return None if is_text else (str(value).lower() if isinstance(question, YesNo) else (value,))
    if isinstance(value, int):
        return str(value) if isinstance(question, Score) else None
    return " ".join(value.split()) if isinstance(value, str) else None


def _text_number(value: object) -> Decimal | None:
    """A number as the key of an object."""
    try:
        return Decimal(value).normalize() if isinstance(value, str) else None
    except ArithmeticError:
        return None


def _pairs(given: object) -> Iterator[tuple[Any, Any]]:
    """Answers with their probabilities."""
    if isinstance(given, Mapping):
        yield from given.items()
    elif isinstance(given, list) and all(isinstance(one, Mapping) for one in given):
        for one in given:
            yield one.get("value", one.get("label")), one.get("probability")

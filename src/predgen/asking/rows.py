"""Rows of a file with answers to questions about them, with or without a trained model's predictions."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from predgen.asking.asker import Asker, Case
from predgen.core import Row
from predgen.data.cells import CellError, field_text, is_missing
from predgen.errors import DataError, QuestionError, QuestionFault
from predgen.inference.stream import Pair, Predicting, RowMaker
from predgen.questions.answered import YesNoAnswer
from predgen.questions.kinds import YesNo
from predgen.questions.wording import row_text


class Asking(RowMaker):
    """Adds yes or no, and the probability of yes, to each row, for each question; columns are named by the question's text.

    A row is one state: the prompt's columns where a trained model predicts, too, all of them otherwise. A state with one column is
    its text, others are one line a column.

    Args:
        asker: The model.
        questions: Texts of yes/no questions.
        beside: What a trained model predicts of the rows; None: nothing, questions are all.
        name: What the model is, for a call that goes on with an interrupted one.

    Raises:
        QuestionError: If a question is blank or stands twice.
    """

    def __init__(
        self, asker: Asker, questions: Sequence[str], beside: Predicting | None = None, name: str = ""
    ) -> None:
        faults = [
            QuestionFault(f"--ask {i + 1}", f"is {text!r}, which stands before it, too")
            for i, text in enumerate(questions)
            if text in questions[:i]
        ]
        if faults:
            raise QuestionError(faults)
        self._asker, self._beside, self._name = asker, beside, name
        self._questions = {text: YesNo(text) for text in questions}
        asker.check(self._questions)

    def facts(self) -> Any:  # noqa: ANN401
        return [self._name, self._beside.facts() if self._beside else None]

    def options(self) -> Any:  # noqa: ANN401
        return [[*self._questions], self._beside.options() if self._beside else None]

    def remarks(self) -> list[str]:
        return self._beside.remarks() if self._beside else []

    def columns(self, first: Row) -> tuple[str, ...]:
        names = self._beside.columns(first) if self._beside else tuple(first)
        added = [name for text in self._questions for name in (text, _probability(text))]
        clash = [name for name in added if name in names]
        if clash:
            raise DataError(
                f"the input already has the column {clash[0]!r}, which a question's answer needs; rename it."
            )
        return (*names, *added)

    def numbers(self) -> tuple[str, ...]:
        return (*(self._beside.numbers() if self._beside else ()), *map(_probability, self._questions))

    def items(self, rows: Iterable[Row]) -> Iterator[Any]:
        return self._beside.items(rows) if self._beside else map(_whole_row, rows, count())

    def lines(
        self, window: Sequence[Pair], on_rows: Callable[[int], None] | None
    ) -> tuple[list[dict[str, Any]], Mapping[str, int]]:
        rows, flags = [row for row, _ in window], dict[str, int]()
        states = [item for _, item in window]
        if self._beside is not None:
            rows, known = self._beside.lines(window, None)
            flags |= known
            states = [row_text(example.fields) for example in states]
        told = self._asker.answer([Case(state, self._questions) for state in states], on_batch=on_rows)
        if short := sum(one.is_truncated for one in told):
            flags["truncated"] = max(short, flags.get("truncated", 0))
        return [row | _cells(one.answers) for row, one in zip(rows, told, strict=True)], flags


def _probability(question: str) -> str:
    """Column of a question's probability."""
    return f"p({question})"


def _cells(answers: Mapping[str, Any]) -> dict[str, Any]:
    """Cells of a row's answers."""
    cells: dict[str, Any] = {}
    for question, answer in answers.items():
        assert isinstance(answer, YesNoAnswer), "all are yes/no questions"
        cells[question] = "yes" if answer.probability >= 0.5 else "no"
        cells[_probability(question)] = answer.probability
    return cells


def _whole_row(row: Row, number: int) -> str:
    """All cells of a row as a state; missing ones are left out."""
    try:
        cells = {name: field_text(cell) for name, cell in row.items() if not is_missing(cell)}
    except CellError as error:
        raise DataError(f"row {number + 1} cannot be asked about: one of its cells is {error}.") from error
    if not cells:
        raise DataError(f"row {number + 1} cannot be asked about: it has no cell. Fill it in, or leave the row out.")
    return row_text(cells)

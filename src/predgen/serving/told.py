"""Answers to questions as a server passes them on, and the work that gives them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from predgen.questions.answered import TypedAnswer
from predgen.serving.batcher import Work


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of a question.

    Attributes:
        answer: The answer; None: the model is not sure enough, so that it is refused.
        interval: Coverage, lower and upper end of a calibrated interval of a number; an open end is None.
    """

    answer: TypedAnswer | None
    interval: tuple[float, float | None, float | None] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data, as `/v1/systemone` has it."""
        if self.answer is None:
            return {"type": "refusal"}
        data = self.answer.to_dict()
        if self.interval is not None:
            data["interval"] = dict(zip(("coverage", "lower", "upper"), self.interval, strict=True))
        return data


@dataclass(frozen=True, slots=True)
class AskedQuestions:
    """Questions about a state as work, and their answers.

    Attributes:
        work: What the model's thread runs.
        read: Makes answers, by the questions' keys, and the number of input tokens of what it gave.
    """

    work: Work
    read: Callable[[list[Any]], tuple[dict[str, Told], int]]

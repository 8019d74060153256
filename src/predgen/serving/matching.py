"""Questions of a trained model: which typed question is the one that it was trained to answer, and how its prediction answers it."""

from collections.abc import Mapping
from typing import Any

from predgen.core import Prediction
from predgen.data.cells import label_of
from predgen.errors import QuestionError, QuestionFault
from predgen.inference.trained import TrainedModel
from predgen.questions.answered import NumberAnswer, TypedAnswer, answer_to
from predgen.questions.kinds import (
    Choice,
    Described,
    NumberQuestion,
    Score,
    TypedQuestion,
    YesNo,
    answers_of,
    yes_and_no,
)
from predgen.questions.reading import read_question


class OwnQuestion:
    """What a run was trained to answer.

    A question is meant for it that has the target's name and no more than a type, or whose answers are the model's labels; of
    numbers, one with the target's name.

    Args:
        trained: The model.
    """

    def __init__(self, trained: TrainedModel) -> None:
        self.target = trained.task.target
        self.labels = [label_of(label, {}) for label in trained.classes]
        self.kind = trained.model.setup.kind
        self._is_ordered = trained.model.is_ordered

    def read(self, name: str | None, data: Mapping[str, Any]) -> TypedQuestion:
        """Return the question that is asked.

        Args:
            name: Its name; None: it has none.
            data: The question as it came.

        Raises:
            QuestionError: With everything that is wrong with it, or if it is not the model's own.
        """
        is_named = name == self.target
        question = (
            self._by_type(data.get("type")) if is_named and not {*data} - {"type", "name"} else read_question(data)
        )
        if isinstance(question, NumberQuestion):
            fits = self.kind == "regression" and is_named
        else:
            fits = self._places(question) is not None
        if not fits:
            raise QuestionError(
                [QuestionFault("", f"is none that this model was trained to answer: {self.in_words()}")]
            )
        return question

    def in_words(self) -> str:
        """What the model answers, for messages."""
        if self.kind == "regression":
            return f"{self.target!r}, a number; ask by this name"
        return f"{self.target!r}, one of {', '.join(self.labels)}; ask by this name, or for a choice of just these"

    def answer(self, question: TypedQuestion, told: Prediction) -> TypedAnswer:
        """Return what a prediction answers."""
        if isinstance(question, NumberQuestion):
            assert told.distribution is not None, "asked only of models that give one"
            return NumberAnswer(told.distribution)
        places, probabilities = self._places(question), told.probabilities
        assert places is not None, "checked when the question was read"
        assert probabilities is not None, "labels have probabilities"
        return answer_to(question, [probabilities[place] for place in places])

    def _by_type(self, kind: Any) -> TypedQuestion:  # noqa: ANN401
        """The model's own question in the form of a type; None: the form that fits."""
        if self.kind == "regression" and kind in (None, "number"):
            return NumberQuestion(
                self.target, 0.0, 1.0
            )  # the answer has the model's own numbers, whatever a question says
        if self.labels and kind in ("noul", "predicate"):
            return YesNo(self.target)
        if self.labels and (kind == "score" or (kind is None and self._is_ordered)):
            return Score(self.target, self.labels)
        if self.labels and kind in (None, "choice"):
            return Choice(self.target, self.labels)
        raise QuestionError([QuestionFault("type", f"is {kind!r}, but the model answers {self.in_words()}")])

    def _places(self, question: TypedQuestion) -> list[int] | None:
        """Place of each answer among the model's labels; None where they are not the same."""
        if not self.labels or isinstance(question, NumberQuestion):
            return None
        if isinstance(question, YesNo):
            return yes_and_no(self.labels)
        texts = [one.text for one in answers_of(question) if isinstance(one, Described)]
        own = [" ".join(label.split()) for label in self.labels]
        return [own.index(text) for text in texts] if sorted(texts) == sorted(own) else None

"""A base model as a server has it: it was trained to answer nothing, and answers any question."""

from collections.abc import Mapping
from typing import Any

from predgen.asking.asker import AnsweredCase, Asker, Case
from predgen.errors import ConfigError
from predgen.questions.answered import ChoiceAnswer, ScoreAnswer, TypedAnswer, YesNoAnswer
from predgen.questions.kinds import TypedQuestion
from predgen.questions.reading import read_question
from predgen.questions.wording import State, question_text, state_text, written_answers
from predgen.serving.batcher import Work
from predgen.serving.told import AskedQuestions, Told

_LETTERS_PER_TOKEN = 3  # about, to fill a turn; what is run is counted by the asker


class ServedBase:
    """A base model and its name.

    Args:
        asker: The model.
        name: What clients call it.
        min_confidence: Least probability of an answer that is given; None: all are.
    """

    def __init__(self, asker: Asker, name: str, min_confidence: float | None = None) -> None:
        self.asker = asker
        self.name = name
        self._least = min_confidence

    @classmethod
    def read(
        cls,
        base: str,
        name: str,
        *,
        format: str | None,
        batch_tokens: int | None,
        min_confidence: float | None,
        trust_remote_code: bool,
    ) -> "ServedBase":
        """Load a base.

        Raises:
            ModelError: If it cannot be found or read.
            ConfigError: If it has not the format.
        """
        asker = Asker.load(base, format=format, trust_remote_code=trust_remote_code)
        if batch_tokens is not None:
            asker.batch_tokens = batch_tokens
        return cls(asker, name, min_confidence)

    def facts(self) -> dict[str, Any]:
        """Return what clients may know of the model, as plain JSON data."""
        return {"created": 0, "kind": "questions", "method": "zero-shot", "fields": []}

    def question(self, name: str | None, data: Mapping[str, Any]) -> TypedQuestion:
        """Read a question; any will do.

        Raises:
            QuestionError: With everything that is wrong with it.
        """
        question = read_question(data)
        self.asker.check({"": question})
        return question

    def check_state(self, state: State) -> None:
        """Nothing: a base reads any state."""

    def ask(self, state: State, questions: Mapping[str, TypedQuestion]) -> AskedQuestions:
        """Return the work of a state's questions."""
        texts = [state_text(state), *(question_text(question) for question in questions.values())]
        answers = sum(len(written_answers(question)) for question in questions.values())
        size = sum(map(len, texts)) // _LETTERS_PER_TOKEN + answers
        work = Work((self.name, "ask"), self.asker.answer, [Case(state, questions)], [size], self.asker.batch_tokens)
        return AskedQuestions(work, self._read)

    def _read(self, found: list[Any]) -> tuple[dict[str, Told], int]:
        """Answers, and the tokens that were run for them."""
        one: AnsweredCase = found[0]
        told = {name: Told(None if self._is_unsure(answer) else answer) for name, answer in one.answers.items()}
        return told, one.tokens

    def _is_unsure(self, answer: TypedAnswer) -> bool:
        """Whether an answer is better not given; numbers always are."""
        if self._least is None:
            return False
        if isinstance(answer, YesNoAnswer):
            return max(answer.probability, 1 - answer.probability) < self._least
        if isinstance(answer, ChoiceAnswer):
            return max(answer.probabilities.values()) < self._least
        return isinstance(answer, ScoreAnswer) and max(answer.probabilities) < self._least


def check_base_settings(max_error: float | None) -> None:
    """Refuse what bases cannot promise.

    Raises:
        ConfigError: If something is promised.
    """
    if max_error is not None:
        raise ConfigError(
            f"`max_error` is {max_error}, which needs a calibrated model, but a base is none. Give `min_confidence`, or serve a"
            " trained run."
        )

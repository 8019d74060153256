"""How questions and states are worded for a model, and answers are written: text only, no tokens.

Everything that differs between questions stands last, so that what they share is run once:

    {state}

    Question: Which team?
    Options:
    - sales: contracts, prices
    - tech
    Answer: tech
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from predgen.errors import QuestionError, QuestionFault
from predgen.questions.kinds import Choice, Described, NumberQuestion, Score, TypedQuestion, YesNo, answers_of

PLAIN_PROMPT = "{state}\n\nQuestion: {question}\nAnswer:"
"""Prompt of a question in plain text."""
CHAT_PROMPT = "{state}\n\n{question}"
"""What the user says in a chat model's frame."""
LABEL_QUESTION = "Does this label apply? {label}"
"""The yes/no question that stands for a label of a multi-label target for which no other was given."""

State = str | Mapping[str, Any] | Sequence[Any]


def state_text(state: State) -> str:
    """A state as text: text as it is, everything else as JSON.

    Raises:
        QuestionError: If it is neither.

    Example:
        >>> state_text({"from": "Ann", "open": True})
        '{"from": "Ann", "open": true}'
    """
    if isinstance(state, str):
        return state
    try:
        return json.dumps(state, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise QuestionError([QuestionFault("state", f"is neither text nor JSON data: {error}")]) from None


def row_text(cells: Mapping[str, Any]) -> str:
    r"""A row of a table as text: its only cell, or one line a column.

    Example:
        >>> row_text({"text": "Where is my parcel?"}), row_text({"from": "Ann", "age": 3})
        ('Where is my parcel?', 'from: Ann\nage: 3')
    """
    if len(cells) == 1:
        return str(next(iter(cells.values())))
    return "\n".join(f"{name}: {cell}" for name, cell in cells.items())


def question_text(question: TypedQuestion) -> str:
    """A question as text, with what its answers mean.

    Options stand in alphabetical order, whatever order they come in: it changes no answer.
    """
    lines = [question.instructions.strip()]
    if isinstance(question, YesNo):
        lines += _listed([one for one in question.described if one.description is not None], "")
    elif isinstance(question, Choice):
        lines += ["Options:", *sorted(_listed(question.options, "- "))]
    elif isinstance(question, Score):
        lines += ["Levels, the lowest first:", *_listed(question.levels, "- ")]
    elif isinstance(question, NumberQuestion):
        first, second, *_, last = (*question.numbers[:2], question.numbers[-1])
        lines.append(f"A number from {first} to {last}, in steps of {second - first}.")
    return "\n".join(lines)


def label_questions(labels: Sequence[str], question: str = LABEL_QUESTION) -> dict[str, YesNo]:
    """Return the yes/no question of each label of a multi-label target.

    Args:
        labels: Any labels, known in training or not.
        question: Its text, with `{label}` where the label stands; the later, the less is run for each.

    Raises:
        QuestionError: If the text does not name the label, or a label is blank.

    Example:
        >>> label_questions(["billing", "spam"])["spam"].instructions
        'Does this label apply? spam'
    """
    if "{label}" not in question:
        raise QuestionError([QuestionFault("question", f"is {question!r}, but must hold {{label}}")])
    blank = [
        QuestionFault(f"labels.{i}", f"is {label!r}, but must have a visible character")
        for i, label in enumerate(labels)
        if not label.strip()
    ]
    if blank:
        raise QuestionError(blank)
    return {label: YesNo(question.replace("{label}", label)) for label in labels}


def written_answers(question: TypedQuestion) -> list[str]:
    """What is written for each answer, in the order of all probabilities.

    Example:
        >>> written_answers(Choice("Is it?", [True, "true", "perhaps"]))
        ['true (boolean)', 'true', 'perhaps']
    """
    if isinstance(question, NumberQuestion):
        return [f"{number:f}" for number in question.numbers]
    answers = [one for one in answers_of(question) if isinstance(one, Described)]
    texts = {one.text for one in answers if not isinstance(one.value, bool)}
    return [
        f"{one.text} (boolean)" if isinstance(one.value, bool) and one.text in texts else one.text for one in answers
    ]


def _listed(answers: Sequence[Described], mark: str) -> list[str]:
    """One line each."""
    return [
        f"{mark}{one.text}" + ("" if one.description is None else f": {one.description.strip()}") for one in answers
    ]

"""Shared by the multiple-choice tasks: reading the options of the formats they are published in.

Prompts are LLM-Adapters' (Hu et al. 2023, arXiv:2304.01933), whose training files the PredGen paper uses: all options in
the prompt, numbered after a noun ("Solution1: ..."), and the noun with its number as the answer ("solution1"). Its answers
begin with "the correct answer is"; here these words end the prompt. Left out is the frame around every instruction ("Below
is an instruction that describes a task ..."). WinoGrande's "Answer format" begins a paragraph here, as that of the others.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from predgen.core import FileSpec, Row

_LETTERED = re.compile(r"(?:^|\s)\(([A-H])\)\s")


def read_instruction(row: Row, noun: str) -> tuple[str, list[str]] | None:
    r"""Return question and options of a row in LLM-Adapters' four-field format; None where the row is not one.

    Example:
        >>> text = "Please choose the correct answer to the question: Why?\n\nAnswer1: so Answer2: no\n\nAnswer format: answer1/answer2"
        >>> read_instruction({"instruction": text}, "Answer")
        ('Why?', ['so', 'no'])
    """
    text = row.get("instruction")
    if not isinstance(text, str):
        return None
    body, _, names = text.rpartition("Answer format:")
    _, _, asked = body.partition(": ")
    question, *options = re.split(rf"\s+{noun}\d+:\s", asked)
    if len(options) < 2 or len(options) != len(names.split("/")):
        return None
    return question.strip(), [option.strip() for option in options]


def four_field_files(name: str, target: str = "answer") -> tuple[FileSpec, ...]:
    """Return LLM-Adapters' names for a split's file; `target` is what the task calls the column `answer`."""
    columns = {} if target == "answer" else {"answer": target}
    return tuple(FileSpec((f"{name}{suffix}",), "json", columns=columns) for suffix in (".llm_adapters.json", ".json"))


def numbered_answers(row: Row) -> dict[str, Any]:
    """Give a question with three to five options the columns `question`, `options`, `names`, `option1`... and `answer`.

    Known are the published ARC and OpenBookQA rows (JSON, tab separated, on the hub) and LLM-Adapters' four fields. Keys
    may be letters or digits: an option's number is its place among the row's own labels. Rows without key get no `answer`.

    Example:
        >>> choices = [{"text": "fog", "label": "1"}, {"text": "rain", "label": "2"}]
        >>> numbered_answers({"question": {"stem": "Wet?", "choices": choices}, "answerKey": "2"})["answer"]
        'answer2'
    """
    found = _question_and_options(row)
    if found is None:
        return dict(row)
    question, labels, texts = found
    names = [f"answer{number}" for number in range(1, len(texts) + 1)]
    options = " ".join(f"Answer{number}: {text}" for number, text in enumerate(texts, start=1))
    key = row.get("answerKey")
    answer = {"answer": names[labels.index(key)] if key in labels else key} if key else {}
    columns = {f"option{number}": text for number, text in enumerate(texts, start=1)}
    return {**row, "question": question, "options": options, "names": "/".join(names), **columns, **answer}


def _question_and_options(row: Row) -> tuple[str, Sequence[str], Sequence[str]] | None:
    """Return question, labels and texts of the options, or None."""
    instruction = read_instruction(row, "Answer")
    if instruction is not None:
        question, texts = instruction
        return question, [""] * len(texts), texts
    nested = row.get("question")
    stem, choices = row.get("question_stem", nested), row.get("choices")
    if isinstance(nested, Mapping):
        stem, choices = nested.get("stem"), nested.get("choices")
    if not isinstance(stem, str) or choices is None:
        return None
    if isinstance(choices, str):  # "(A) fog (B) rain"
        _, *parts = _LETTERED.split(choices)
        return stem, parts[::2], [text.strip() for text in parts[1::2]]
    if isinstance(choices, Mapping):  # the hub keeps texts and labels apart
        return stem, choices["label"], choices["text"]
    return stem, [choice["label"] for choice in choices], [choice["text"] for choice in choices]

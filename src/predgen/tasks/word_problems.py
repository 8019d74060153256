"""Shared by the arithmetic tasks: question and answer of the formats they are published in."""

from typing import Any

from predgen.core import FileSpec, Row

PROMPT = "Question: {question}\nAnswer:"
"""One prompt for all of them, GSM8K included: a model trained on one is measured on the others."""


def question_and_answer(row: Row) -> dict[str, Any]:
    """Give a row of any of the formats the columns `question` and `answer`, and `rationale` where it has one.

    Known are the algebra sets (`sQuestion`, `lSolutions`), SVAMP (`Body`, `Question`, `Answer`), LLM-Adapters' four
    fields, whose `output` is a worked solution, and rows that have a `question` already.

    Example:
        >>> question_and_answer({"Body": "Tom has 3 pens", "Question": "How many pens?", "Answer": 3.0})["question"]
        'Tom has 3 pens. How many pens?'
    """
    if "sQuestion" in row:
        solutions = row.get("lSolutions")
        only = {"answer": solutions[0]} if isinstance(solutions, list) and len(solutions) == 1 else {}
        return {**row, "question": row["sQuestion"].strip(), **only}
    if "Body" in row and "Question" in row:
        question = f"{row['Body'].rstrip(' .')}. {row['Question'].strip()}"
        return {**row, "question": question, **({"answer": row["Answer"]} if "Answer" in row else {})}
    if "instruction" in row:
        solution = str(row.get("output") or "").strip().removeprefix("A:").strip()
        return {**row, "question": row["instruction"].strip(), "rationale": solution or None}
    return {**row, "question": row["question"].strip()} if isinstance(row.get("question"), str) else dict(row)


def test_files(published: str) -> tuple[FileSpec, ...]:
    """Return the names of a set's one file: whole, or a part of it."""
    whole = (FileSpec((name,), "json") for name in ("test.json", published))
    return (*whole, FileSpec(("test.jsonl",), "jsonl"), FileSpec(("sample.json",), "json"))

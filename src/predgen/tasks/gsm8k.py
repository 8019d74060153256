"""GSM8K: grade-school word problems with a worked solution and a whole number as the answer."""

import re
from typing import Any

from predgen.core import FileSpec, HubSpec, Row, TaskSpec

_CALCULATOR_NOTE = re.compile(r"<<[^>]*>>")


def split_answer(row: Row) -> dict[str, Any]:
    r"""Split the published `answer` at "####" into the number and `rationale`, without commas and calculator notes.

    Example:
        >>> split_answer({"answer": "He paid 2*600=$<<2*600=1200>>1200.\n#### 1,200"})
        {'answer': '1200', 'rationale': 'He paid 2*600=$1200.'}
    """
    answer = row.get("answer")
    if answer is None:
        return dict(row)
    solution, mark, number = answer.rpartition("####") if isinstance(answer, str) else ("", "", answer)
    if not mark:  # the bare number: split already, or a file without solutions
        return {"rationale": None, **row}
    return {**row, "answer": number.strip().replace(",", ""), "rationale": _CALCULATOR_NOTE.sub("", solution).strip()}


GSM8K = TaskSpec(
    name="gsm8k",
    kind="math",
    prompt="Question: {question}\nAnswer:",
    target="answer",
    rationale="rationale",
    metrics=("exact_match",),
    files={
        "train": (FileSpec(("train.jsonl",), "jsonl"),),
        # "sample.jsonl" is a part of the published test file.
        "test": (
            FileSpec(("test.jsonl",), "jsonl"),
            FileSpec(("sample.jsonl",), "jsonl"),
            FileSpec(("test.json",), "json", columns={"instruction": "question"}),  # LLM-Adapters
        ),
    },
    hub=HubSpec("openai/gsm8k", "main", splits={"train": "train", "test": "test"}),
    group=("question",),
    extract="predgen.tasks.gsm8k:split_answer",
    licence="MIT",
    source="Cobbe et al. (2021), Training Verifiers to Solve Math Word Problems, arXiv:2110.14168",
)

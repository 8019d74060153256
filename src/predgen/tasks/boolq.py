"""BoolQ: yes/no questions, asked without the passage.

The copy of the training file that is usually at hand (LLM-Adapters) has questions only, so questions only are asked on
both sides: a model trained without passages and tested with them would be measured on another task. They are asked in
LLM-Adapters' words, as the multiple-choice tasks are (`choices`).
"""

import re
from typing import Any

from predgen.core import FileSpec, HubSpec, Row, TaskSpec

# The LLM-Adapters file wraps each question in an instruction.
_INSTRUCTION = re.compile(
    r"Please answer the following question with true or false, question: (.*?)\s*Answer format: true/false\s*",
    re.DOTALL,
)


def bare_question(row: Row) -> dict[str, Any]:
    """Reduce `question` to the question: without LLM-Adapters' instruction and without the question mark, which the published files do not have."""
    question = row.get("question")
    if not isinstance(question, str):
        return dict(row)
    wrapped = _INSTRUCTION.fullmatch(question)
    return {**row, "question": (wrapped[1] if wrapped else question).strip().rstrip("?").rstrip()}


_COLUMNS = {"instruction": "question"}

BOOLQ = TaskSpec(
    name="boolq",
    kind="classification",
    prompt=(
        "Please answer the following question with true or false, question: {question}?\n\nAnswer format: true/false\n"
        "The correct answer is"
    ),
    target="answer",
    labels={"false": "false", "true": "true"},
    metrics=("accuracy", "macro_f1", "log_loss"),
    files={
        "train": (
            FileSpec(("train.jsonl",), "jsonl"),
            FileSpec(("train.llm_adapters.json",), "json", columns=_COLUMNS),
        ),
        "validation": (FileSpec(("dev.jsonl",), "jsonl"),),
        "test": (
            FileSpec(("test.jsonl",), "jsonl"),
            FileSpec(("test.json",), "json", columns=_COLUMNS),
        ),
    },
    hub=HubSpec("google/boolq", splits={"train": "train", "validation": "validation"}),
    group=("question",),
    extract="predgen.tasks.boolq:bare_question",
    licence="CC BY-SA 3.0",
    source="Clark et al. (2019), BoolQ: Exploring the Surprising Difficulty of Natural Yes/No Questions, arXiv:1905.10044",
    version=2,  # 1 asked in words of our own
)

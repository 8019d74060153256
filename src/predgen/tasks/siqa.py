"""Social IQa: which of three answers fits a social situation."""

from typing import Any

from predgen.core import FileSpec, HubSpec, Row, TaskSpec
from predgen.tasks.choices import four_field_files, read_instruction


def asked_situation(row: Row) -> dict[str, Any]:
    """Join `context` and `question` as `asked`, or read it and the answers from LLM-Adapters' instruction."""
    found = read_instruction(row, "Answer")
    if found and len(found[1]) == 3:
        return {**row, "asked": found[0], **dict(zip(("answerA", "answerB", "answerC"), found[1], strict=True))}
    if isinstance(row.get("context"), str) and isinstance(row.get("question"), str):
        return {**row, "asked": f"{row['context'].strip()} {row['question'].strip()}"}
    return dict(row)


SIQA = TaskSpec(
    name="siqa",
    kind="classification",
    prompt=(
        "Please choose the correct answer to the question: {asked}\n\nAnswer1: {answerA} Answer2: {answerB} Answer3: {answerC}"
        "\n\nAnswer format: answer1/answer2/answer3\nThe correct answer is"
    ),
    target="answer",
    labels={"1": "answer1", "2": "answer2", "3": "answer3"},
    options=("answerA", "answerB", "answerC"),
    cloze="Question: {asked}\nAnswer:",
    metrics=("accuracy", "macro_f1", "log_loss"),
    files={
        "train": (
            FileSpec(("train.jsonl",), "jsonl", aligned={"answer": "train-labels.lst"}),
            *four_field_files("train"),
        ),
        "validation": (FileSpec(("dev.jsonl",), "jsonl", aligned={"answer": "dev-labels.lst"}),),
        "test": (
            FileSpec(("test.jsonl",), "jsonl", aligned={"answer": "test-labels.lst"}),
            *four_field_files("test"),
        ),
    },
    # The publisher's own repository needs its script to be run; this is a copy as plain data.
    hub=HubSpec("lighteval/siqa", splits={"train": "train", "validation": "validation"}, columns={"label": "answer"}),
    group=("context", "asked"),  # several questions are asked about one situation
    extract="predgen.tasks.siqa:asked_situation",
    licence="not stated",
    source="Sap et al. (2019), Social IQa: Commonsense Reasoning about Social Interactions, arXiv:1904.09728",
)

"""PIQA: which of two solutions reaches an everyday goal."""

from typing import Any

from predgen.core import FileSpec, HubSpec, Row, TaskSpec
from predgen.tasks.choices import four_field_files, read_instruction


def goal_and_solutions(row: Row) -> dict[str, Any]:
    """Read LLM-Adapters' instruction into the published columns."""
    found = read_instruction(row, "Solution")
    return {**row, "goal": found[0], "sol1": found[1][0], "sol2": found[1][1]} if found else dict(row)


PIQA = TaskSpec(
    name="piqa",
    kind="classification",
    prompt=(
        "Please choose the correct solution to the question: {goal}\n\nSolution1: {sol1}\n\nSolution2: {sol2}\n\n"
        "Answer format: solution1/solution2\nThe correct answer is"
    ),
    target="answer",
    labels={"0": "solution1", "1": "solution2"},
    options=("sol1", "sol2"),
    cloze="Question: {goal}\nAnswer:",
    metrics=("accuracy", "macro_f1", "log_loss"),
    files={
        "train": (
            FileSpec(("train.jsonl",), "jsonl", aligned={"answer": "train-labels.lst"}),
            *four_field_files("train"),
        ),
        "validation": (FileSpec(("valid.jsonl",), "jsonl", aligned={"answer": "valid-labels.lst"}),),
        # The publisher's tests.jsonl has no labels.
        "test": (
            FileSpec(("test.jsonl",), "jsonl", aligned={"answer": "test-labels.lst"}),
            *four_field_files("test"),
        ),
    },
    # The publisher's own repository needs its script to be run; this is a copy as plain data.
    hub=HubSpec("baber/piqa", splits={"train": "train", "validation": "validation"}, columns={"label": "answer"}),
    group=("goal",),
    extract="predgen.tasks.piqa:goal_and_solutions",
    licence="Academic Free License 3.0",
    source="Bisk et al. (2020), PIQA: Reasoning about Physical Commonsense in Natural Language, arXiv:1911.11641",
)

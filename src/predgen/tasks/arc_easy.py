"""ARC-Easy: grade-school science questions with three to five options, the easy part."""

from predgen.core import FileSpec, HubSpec, TaskSpec
from predgen.tasks.choices import four_field_files

ARC_EASY = TaskSpec(
    name="arc_easy",
    kind="classification",
    prompt=(
        "Please choose the correct answer to the question: {question}\n\n{options}\n\nAnswer format: {names}\n"
        "The correct answer is"
    ),
    target="answer",
    labels={f"answer{number}": f"answer{number}" for number in range(1, 6)},
    options=tuple(f"option{number}" for number in range(1, 6)),
    cloze="Question: {question}\nAnswer:",
    metrics=("accuracy", "macro_f1", "log_loss"),
    files={
        "train": (FileSpec(("ARC-Easy-Train.jsonl",), "jsonl"), *four_field_files("train")),
        "validation": (FileSpec(("ARC-Easy-Dev.jsonl",), "jsonl"),),
        "test": (FileSpec(("ARC-Easy-Test.jsonl",), "jsonl"), *four_field_files("test")),
    },
    hub=HubSpec(
        "allenai/ai2_arc",
        "ARC-Easy",
        splits={"train": "train", "validation": "validation", "test": "test"},
    ),
    group=("question",),
    extract="predgen.tasks.choices:numbered_answers",
    licence="not stated",
    source="Clark et al. (2018), Think you have Solved Question Answering? Try ARC, arXiv:1803.05457",
)

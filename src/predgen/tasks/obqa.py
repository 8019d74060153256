"""OpenBookQA: science questions with four options, to be answered from a set of facts and common knowledge."""

from predgen.core import FileSpec, HubSpec, TaskSpec
from predgen.tasks.choices import four_field_files

_COLUMNS = {"Question Stem": "question_stem", "Choices": "choices", "Answer Key": "answerKey"}


def _files(name: str) -> tuple[FileSpec, ...]:
    """The publisher gives each split as a table and as JSON lines."""
    return (
        FileSpec((f"{name}.tsv",), "tsv_plain", columns=_COLUMNS),
        FileSpec((f"{name}.jsonl",), "jsonl"),
        *four_field_files(name),
    )


OBQA = TaskSpec(
    name="obqa",
    kind="classification",
    prompt=(
        "Please choose the correct answer to the question: {question}\n\n{options}\n\nAnswer format: {names}\n"
        "The correct answer is"
    ),
    target="answer",
    labels={f"answer{number}": f"answer{number}" for number in range(1, 5)},
    options=tuple(f"option{number}" for number in range(1, 5)),
    cloze="Question: {question}\nAnswer:",
    metrics=("accuracy", "macro_f1", "log_loss"),
    files={"train": _files("train"), "validation": _files("dev"), "test": _files("test")},
    hub=HubSpec("allenai/openbookqa", "main", splits={"train": "train", "validation": "validation", "test": "test"}),
    folder="openbookqa",
    group=("question",),
    extract="predgen.tasks.choices:numbered_answers",
    licence="not stated",
    source="Mihaylov et al. (2018), Can a Suit of Armor Conduct Electricity? OpenBookQA, arXiv:1809.02789",
)

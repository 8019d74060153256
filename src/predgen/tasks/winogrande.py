"""WinoGrande: which of two options fills the blank of a sentence."""

from typing import Any

from predgen.core import FileSpec, HubSpec, Row, TaskSpec
from predgen.tasks.choices import four_field_files, read_instruction


def sentence_and_twin(row: Row) -> dict[str, Any]:
    """Add `twin`, what two sentences that differ in one word have in common: the id before its number, else the options."""
    found = read_instruction(row, "Option")
    if found and len(found[1]) == 2:
        row = {**row, "sentence": found[0], "option1": found[1][0], "option2": found[1][1]}
    if isinstance(row.get("qID"), str):
        return {**row, "twin": row["qID"].rpartition("-")[0]}
    options = [row.get("option1"), row.get("option2")]
    return {**row, "twin": " or ".join(map(str, options))} if None not in options else dict(row)


WINOGRANDE = TaskSpec(
    name="winogrande",
    kind="classification",
    prompt=(
        "Please choose the correct answer to fill in the blank to complete the given sentence: {sentence}\n\n"
        "Option1: {option1} Option2: {option2}\n\nAnswer format: option1/option2\nThe correct answer is"
    ),
    target="answer",
    labels={"1": "option1", "2": "option2"},
    options=("option1", "option2"),
    cloze="Sentence: {sentence}\nThe blank _ stands for:",
    metrics=("accuracy", "macro_f1", "log_loss"),
    files={
        # The published sizes, largest first. Their label files repeat the column `answer`.
        "train": (
            *(FileSpec((f"train_{size}.jsonl",), "jsonl") for size in ("xl", "l", "m", "s", "xs")),
            *four_field_files("train"),
        ),
        "validation": (FileSpec(("dev.jsonl",), "jsonl"),),
        # The publisher's test.jsonl has no answers.
        "test": (
            FileSpec(("test.jsonl",), "jsonl", aligned={"answer": "test-labels.lst"}),
            FileSpec(("test.jsonl",), "jsonl"),
            *four_field_files("test"),
        ),
    },
    hub=HubSpec("allenai/winogrande", "winogrande_xl", splits={"train": "train", "validation": "validation"}),
    group=("twin",),
    extract="predgen.tasks.winogrande:sentence_and_twin",
    licence="CC BY 2.0",
    source="Sakaguchi et al. (2020), WinoGrande: An Adversarial Winograd Schema Challenge at Scale, arXiv:1907.10641",
)

"""SST-2: sentiment of movie review phrases and sentences, GLUE release."""

from typing import Any

from predgen.core import FileSpec, HubSpec, Row, TaskSpec


def stripped_sentence(row: Row) -> dict[str, Any]:
    """Remove the blank that ends every sentence of the train file, but of no other text a model will see."""
    return {**row, "sentence": row["sentence"].strip()} if isinstance(row.get("sentence"), str) else dict(row)


SST2 = TaskSpec(
    name="sst2",
    kind="classification",
    prompt="Review: {sentence}\nThe review is negative or positive:",
    target="label",
    labels={"0": "negative", "1": "positive"},
    metrics=("accuracy", "macro_f1", "log_loss"),
    files={
        "train": (FileSpec(("train.tsv",), "tsv_plain"),),
        "validation": (FileSpec(("dev.tsv",), "tsv_plain"),),
        # GLUE's own test.tsv has no labels.
        "test": (FileSpec(("test-labeled.tsv",), "tsv_plain"),),
    },
    hub=HubSpec("nyu-mll/glue", "sst2", splits={"train": "train", "validation": "validation"}),
    group=("sentence",),  # 371 repeated rows
    extract="predgen.tasks.sst2:stripped_sentence",
    licence="not stated",
    source="Socher et al. (2013), Recursive Deep Models for Semantic Compositionality; Wang et al. (2019), GLUE",
)

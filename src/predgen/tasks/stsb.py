"""STS-B: semantic similarity of two sentences, 0 (nothing in common) to 5 (same meaning)."""

from predgen.core import FileSpec, HubSpec, TaskSpec

# Tab separated in spite of the name, no header line, quotes are ordinary characters; some rows end with two source fields.
_COLUMNS = ("genre", "file", "year", "id", "score", "sentence1", "sentence2", "source1", "source2")

STSB = TaskSpec(
    name="stsb",
    kind="regression",
    prompt="A: {sentence1}\nB: {sentence2}\nSimilarity from 0 to 5:",
    target="score",
    scale=(0.0, 5.0),
    metrics=("mse", "mae", "rmse", "pearson", "spearman", "r2"),
    files={
        "train": (FileSpec(("sts-train.csv",), "tsv_plain", header=_COLUMNS, optional=2),),
        "validation": (FileSpec(("sts-dev.csv",), "tsv_plain", header=_COLUMNS, optional=2),),
        "test": (FileSpec(("sts-test.csv",), "tsv_plain", header=_COLUMNS, optional=2),),
    },
    # GLUE's test rows have no scores.
    hub=HubSpec(
        "nyu-mll/glue", "stsb", splits={"train": "train", "validation": "validation"}, columns={"label": "score"}
    ),
    group=("sentence1", "sentence2"),  # 43 repeated pairs in train, 5 with more than one score
    licence="scores CC BY-SA 4.0; sentences under the licence of each source",
    source="Cer et al. (2017), SemEval-2017 Task 1, arXiv:1708.00055",
)

"""SICK: relatedness of two sentences, 1 (unrelated) to 5 (very related)."""

from predgen.core import FileSpec, HubSpec, TaskSpec

SICK = TaskSpec(
    name="sick",
    kind="regression",
    prompt="A: {sentence_A}\nB: {sentence_B}\nRelatedness from 1 to 5:",
    target="relatedness_score",
    scale=(1.0, 5.0),
    metrics=("mse", "mae", "rmse", "pearson", "spearman", "r2"),
    files={
        "train": (FileSpec(("SICK_train.txt",), "tsv_plain"),),
        "validation": (FileSpec(("SICK_trial.txt",), "tsv_plain"),),
        "test": (FileSpec(("SICK_test_annotated.txt",), "tsv_plain"),),
    },
    # The usual repository needs its script to be run; this is a copy as plain data.
    hub=HubSpec("tasksource/sick", splits={"train": "train", "validation": "validation", "test": "test"}),
    group=("sentence_A", "sentence_B"),  # most sentences occur in several pairs
    licence="CC BY-NC-SA 3.0",
    source="Marelli et al. (2014), A SICK cure for the evaluation of compositional distributional semantic models",
)

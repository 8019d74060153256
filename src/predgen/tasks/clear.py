"""CLEAR: ease of reading of a school text, a Bradley-Terry score of teachers' comparisons without fixed ends."""

from predgen.core import FileSpec, HubSpec, TaskSpec

CLEAR = TaskSpec(
    name="clear",
    kind="regression",
    prompt="Text: {Excerpt}\nEase of reading, higher is easier:",
    target="BT_easiness",
    metrics=("mse", "mae", "rmse", "pearson", "spearman", "r2"),
    files={
        "train": (FileSpec(("CLEAR_train.csv",), "csv"),),
        "validation": (FileSpec(("CLEAR_validation.csv",), "csv"),),
        "test": (FileSpec(("CLEAR_test.csv",), "csv"),),
    },
    # The publisher gives one table; this copy has split it.
    hub=HubSpec(
        "casey-martin/CommonLit-Ease-of-Readability",
        splits={"train": "train", "validation": "validation", "test": "test"},
    ),
    group=("Excerpt",),
    licence="CC BY-NC-SA 4.0; some excerpts under a licence of their own",
    source="Crossley et al. (2023), A large-scaled corpus for assessing text readability (CLEAR)",
)

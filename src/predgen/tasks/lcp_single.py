"""LCP (CompLex, SemEval-2021 task 1): how hard a word is in its sentence, 0 (very easy) to 1 (very difficult)."""

from predgen.core import FileSpec, HubSpec, TaskSpec

LCP_SINGLE = TaskSpec(
    name="lcp_single",
    kind="regression",
    prompt="Sentence: {sentence}\nDifficulty of '{token}' from 0 to 1:",
    target="complexity",
    scale=(0.0, 1.0),
    metrics=("mse", "mae", "rmse", "pearson", "spearman", "r2"),
    # Quotes are ordinary characters, and some tokens are the words None and null.
    files={
        "train": (FileSpec(("train/lcp_single_train.tsv",), "tsv_plain"),),
        "validation": (FileSpec(("trial/lcp_single_trial.tsv",), "tsv_plain"),),
        "test": (FileSpec(("test-labels/lcp_single_test.tsv",), "tsv_plain"),),
    },
    hub=HubSpec("razvanalex/CWI-CompLex-single", splits={"train": "train", "validation": "validation", "test": "test"}),
    folder="lcp",
    group=("sentence",),
    licence="CC BY 4.0",
    source="Shardlow et al. (2021), SemEval-2021 Task 1: Lexical Complexity Prediction, arXiv:2106.00473",
)

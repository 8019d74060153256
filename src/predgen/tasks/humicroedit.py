"""Humicroedit (SemEval-2020 task 7, subtask 1): how funny one replaced word makes a headline, 0 (not) to 3 (funny)."""

import re
from typing import Any

from predgen.core import FileSpec, HubSpec, Row, TaskSpec

_MARKED = re.compile(r"<([^<>]*)/>")


def headlines(row: Row) -> dict[str, Any]:
    """Add `headline` and `edited`: the published headline without its mark, and with the edit in the marked place.

    Example:
        >>> row = headlines({"original": "Mayor opens new <bridge/> today", "edit": "jar"})
        >>> row["headline"], row["edited"]
        ('Mayor opens new bridge today', 'Mayor opens new jar today')
    """
    original, edit = row.get("original"), row.get("edit")
    if not isinstance(original, str) or not isinstance(edit, str):
        return dict(row)
    edited = _MARKED.sub(lambda _: edit, original)
    return {**row, "headline": _MARKED.sub(r"\1", original), "edited": edited}


HUMICROEDIT = TaskSpec(
    name="humicroedit",
    kind="regression",
    prompt="Headline: {headline}\nEdited: {edited}\nFunniness of the edit from 0 to 3:",
    target="meanGrade",
    scale=(0.0, 3.0),
    metrics=("mse", "mae", "rmse", "pearson", "spearman", "r2"),
    files={
        "train": (FileSpec(("train.csv",), "csv"),),
        "validation": (FileSpec(("dev.csv",), "csv"),),
        "test": (FileSpec(("test.csv",), "csv"),),
    },
    # The usual repository needs its script to be run; this is a copy as plain data.
    hub=HubSpec(
        "tasksource/humicroedit",
        "subtask-1",
        splits={"train": "train", "validation": "validation", "test": "test"},
    ),
    group=("headline",),  # most headlines were edited several times
    extract="predgen.tasks.humicroedit:headlines",
    licence="not stated",
    source="Hossain et al. (2020), SemEval-2020 Task 7: Assessing Humor in Edited News Headlines, arXiv:2008.00304",
)

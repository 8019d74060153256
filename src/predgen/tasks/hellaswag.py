"""HellaSwag: which of four endings continues a description."""

import re
from typing import Any

from predgen.core import FileSpec, HubSpec, Row, TaskSpec
from predgen.tasks.choices import four_field_files, read_instruction

_TITLE = re.compile(r"\s*\[title\]\s*")
_MARKER = re.compile(r"\s*\[(?:header|step|substeps)\]\s*")


def context_and_endings(row: Row) -> dict[str, Any]:
    """Spread `endings` over four columns, put the activity before `ctx`, and remove WikiHow's markers.

    Example:
        >>> published = {"activity_label": "Tea", "ctx": "[header] How to brew [title] Boil.", "endings": ["a", "b", "c", "d"]}
        >>> context_and_endings(published)["ctx"]
        'Tea: How to brew. Boil.'
    """
    found = read_instruction(row, "Ending")
    context, endings = found or (row.get("ctx"), row.get("endings"))
    if not isinstance(context, str) or endings is None or len(endings) != 4:
        return dict(row)
    activity = row.get("activity_label")
    if isinstance(activity, str) and not context.startswith(f"{activity}: "):
        context = f"{activity}: {_without_markers(context)}"
    texts = {f"ending{number}": _without_markers(ending) for number, ending in enumerate(endings, start=1)}
    return {**row, "ctx": _without_markers(context), **texts}


def _without_markers(text: str) -> str:
    """A title ends a sentence; the other markers leave nothing."""
    return _MARKER.sub(" ", _TITLE.sub(". ", text)).strip()


HELLASWAG = TaskSpec(
    name="hellaswag",
    kind="classification",
    prompt=(
        "Please choose the correct ending to complete the given sentence: {ctx}\n\nEnding1: {ending1} Ending2: {ending2} "
        "Ending3: {ending3} Ending4: {ending4}\n\nAnswer format: ending1/ending2/ending3/ending4\nThe correct answer is"
    ),
    target="label",
    labels={str(index): f"ending{index + 1}" for index in range(4)},
    options=("ending1", "ending2", "ending3", "ending4"),
    cloze="{ctx}",
    metrics=("accuracy", "macro_f1", "log_loss"),
    files={
        "train": (
            FileSpec(("hellaswag_train.jsonl",), "jsonl"),
            *four_field_files("train", "label"),
        ),
        "validation": (FileSpec(("hellaswag_val.jsonl",), "jsonl"),),
        # The publisher's own test file has no labels; then it is no split.
        "test": (
            FileSpec(("hellaswag_test.jsonl",), "jsonl"),
            FileSpec(("test.jsonl",), "jsonl"),
            *four_field_files("test", "label"),
        ),
    },
    hub=HubSpec("Rowan/hellaswag", splits={"train": "train", "validation": "validation"}),
    group=("ctx",),
    extract="predgen.tasks.hellaswag:context_and_endings",
    licence="MIT",
    source="Zellers et al. (2019), HellaSwag: Can a Machine Really Finish Your Sentence?, arXiv:1905.07830",
)

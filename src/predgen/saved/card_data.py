"""What the hub reads of a model card: its YAML front matter, made by `huggingface_hub`'s own classes."""

import math
from collections.abc import Mapping, Sequence

from huggingface_hub import EvalResult, ModelCardData

from predgen import registries
from predgen.bases.find import EMBEDDED
from predgen.bases.hub import is_hub_id
from predgen.bases.known import NamedBase
from predgen.config import RunConfig
from predgen.core import TaskSpec
from predgen.escaping import for_terminal

_LICENCES = {"Gemma terms of use": "gemma"}
"""The hub's word for a licence that has another name there."""
_TASKS = {"math": "text-generation"}  # everything else is text-classification, to which the hub counts numbers, too


def front_matter(
    name: str,
    base: str,
    config: RunConfig,
    kinds: Sequence[str],
    metrics: Mapping[str, float],
    task: TaskSpec | None = None,
) -> str:
    """Return a card's front matter, with its lines of dashes.

    Args:
        name: What the card calls the model.
        base: Name of the base model; a folder of this machine is not named.
        config: The run's settings.
        kinds: Kinds of its targets.
        metrics: Figures of the validation rows.
        task: The task; None: several targets of the user's rows.
    """
    known = _known_base(base)
    pipeline = _TASKS.get(kinds[0], "text-classification")
    dataset = task.hub.dataset if task is not None and config.task is not None and task.hub is not None else None
    results = [
        EvalResult(
            task_type=pipeline,
            dataset_type=dataset or "own-rows",
            dataset_name=config.task or "rows of the model's maker",
            dataset_split="validation",
            metric_type=metric,
            metric_value=value,
        )
        for metric, value in metrics.items()
        if isinstance(value, int | float)
        and math.isfinite(value)  # JSON has no nan, and a figure that is not defined is none
    ]
    data = ModelCardData(
        license=_licence(base, known),
        library_name="predgen",
        pipeline_tag=pipeline,
        base_model=known.hub if known is not None else base if is_hub_id(base) else None,
        datasets=dataset and [dataset],
        tags=["predgen", *dict.fromkeys(kinds)],
        model_name=name,
        eval_results=results or None,
    )
    return f"---\n{for_terminal(data.to_yaml(line_break=chr(10)))}\n---\n"


def _known_base(base: str) -> NamedBase | None:
    """A base that predgen knows by name."""
    for name in registries.bases:
        known: NamedBase = registries.bases.get(name)
        if base in (name, known.hub):
            return known
    return None


def _licence(base: str, known: NamedBase | None) -> str:
    """The base's licence by the hub's word for it; what is trained from a model is under that, or unknown."""
    if base == EMBEDDED:
        return "apache-2.0"  # predgen's own
    return _LICENCES.get(known.licence, known.licence.lower()) if known is not None else "unknown"

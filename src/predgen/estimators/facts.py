"""What a saved model remembers of the `fit` that made it, beside the run's settings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from predgen.data.prompts import prompt_fields
from predgen.inference.targets import TrainedTargets
from predgen.inference.trained import TrainedModel
from predgen.plain_data import typed


@dataclass(frozen=True)
class FitFacts:
    """Plain data, kept as `fit` in the run's report.

    Attributes:
        columns: Columns of `X`.
        has_names: Whether they are named by `X`.
        validation_fraction: Parameter of that name.
        class_weight: "balanced", or text of a label -> weight; None: none, and for regressors.
    """

    columns: Annotated[tuple[str, ...], Field(min_length=1)]
    has_names: bool = True
    validation_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    class_weight: Literal["balanced"] | dict[str, float] | None = None


def read_facts(trained: TrainedModel | TrainedTargets, folder: str | Path) -> FitFacts:
    """Return what a saved model remembers; for one that no estimator made, what `fit` would have been given.

    Raises:
        SavedModelError: If it is damaged.
    """
    data = trained.report.get("fit")
    if data is None:
        prompt = trained.config.prompt if isinstance(trained, TrainedTargets) else trained.task.prompt
        return FitFacts(prompt_fields(prompt or ""))
    repair = "Fit and save the model again, or use `predgen.load`."
    found: FitFacts = typed(FitFacts, data, f"`report.fit` in {str(folder)!r}", repair=repair)
    return found

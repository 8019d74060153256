"""How a run's checkpoint was chosen: by which metric, on how many rows, and whether that says much."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

FEW_ROWS = 50
"""Validation rows below which a choice is called weak: a mean squared error over 50 rows is off by sqrt(2 / 50) = 20 %."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What the choice of a checkpoint rests on.

    Attributes:
        metric: The metric that chose.
        rows: Validation rows that were looked at while training.
        looks: How often.
        defined: In how many of these looks the metric had a value.
    """

    metric: str
    rows: int
    looks: int
    defined: int

    @classmethod
    def of(cls, metric: str, rows: int, log: Sequence[Mapping[str, Any]]) -> "Selection":
        """Read the looks off a run's log."""
        values = [entry[f"eval_{metric}"] for entry in log if f"eval_{metric}" in entry]
        return cls(metric, rows, len(values), sum(map(math.isfinite, values)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data, with what is said of the choice."""
        return {**asdict(self), "choice": str(self), "remark": self.remark}

    def __str__(self) -> str:
        """Say what a kept checkpoint is, for instance "best of 3 by mse on 24 validation rows"."""
        if not self.defined:
            return "the last one"
        return f"best of {self.looks} by {self.metric} on {self.rows} validation rows"

    @property
    def remark(self) -> str | None:
        """What has to be known about the choice; None where nothing has."""
        if self.looks and not self.defined:
            return (
                f"{self.metric} was not defined on the {self.rows} validation rows in any of {self.looks} looks (a"
                " correlation needs rows and predictions that differ), so that no checkpoint could be chosen and the last one"
                " is kept. Give more validation rows, or choose by another `metric`."
            )
        if self.defined > 1 and self.rows < FEW_ROWS:
            return (
                f"The checkpoint was chosen by {self.metric} on {self.rows} validation rows, fewer than {FEW_ROWS}: the choice,"
                " and the figure it was made by, are partly luck. Give more with `validation_data`."
            )
        return None

"""What a saved model knows of its calibration rows: plain numbers, so that no data is needed when it predicts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from predgen.errors import ConfigError
from predgen.uncertainty.temperature import HIGHEST, LOWEST

LEAST_ROWS = 50
"""Fewer calibration rows give no calibration: a temperature and a tail quantile from fewer are mostly chance."""

MOST_KEPT_ROWS = 5000
"""Most rows whose scores are kept: a share of 0.9 is then known to 0.004 (one standard error)."""

_Temperature = Annotated[float, Field(ge=LOWEST, le=HIGHEST)]
_Scores = tuple[Annotated[float, Field(allow_inf_nan=False)], ...]
_Text = Annotated[str, Field(max_length=4096)]


@dataclass(frozen=True)
class CalibrationRecord:
    """Facts of N calibration rows, row by row in one order.

    Attributes:
        rows: N.
        temperature: What log-probabilities are divided by; 1: as the model was trained, and for models without any.
        scores: Name of a conformal score (`conformal.SCORES`) -> its value at each row's true answer.
        confidence: P(predicted label) of each row, tempered; empty for numbers.
        right: Whether that label was the true one.
        by: Column whose value names each row's group; None: there are no groups.
        groups: Each row's group, as text.

    Raises:
        ConfigError: If columns differ in length, as in a damaged saved model.
    """

    rows: Annotated[int, Field(ge=1, le=1 << 20)]
    temperature: _Temperature = 1.0
    scores: Mapping[_Text, _Scores] = field(default_factory=dict)
    confidence: _Scores = ()
    right: tuple[bool, ...] = ()
    by: _Text | None = None
    groups: tuple[_Text, ...] = ()

    def __post_init__(self) -> None:
        columns: dict[str, int] = {name: len(values) for name, values in self.scores.items()}
        columns |= {"confidence": len(self.confidence), "right": len(self.right)} if self.confidence else {}
        columns |= {"groups": len(self.groups)} if self.by is not None else {}
        wrong = [name for name, length in columns.items() if length != self.rows]
        if wrong or (self.by is None and self.groups):
            raise ConfigError(
                f"the calibration of {self.rows} rows has {columns.get(wrong[0], 0) if wrong else len(self.groups)} values of"
                f" {wrong[0] if wrong else 'groups'!r}. It is damaged: calibrate the model again (`predgen calibrate`)."
            )

"""One figure of the demonstration's table."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measured:
    """One cell of the table.

    Attributes:
        task: Target column.
        method: Method, or "tf-idf".
        metric: Metric name.
        value: On the test rows.
        low: Lower end of the 95 % bootstrap interval over rows.
        high: Upper end.
    """

    task: str
    method: str
    metric: str
    value: float
    low: float
    high: float

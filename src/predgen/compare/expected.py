"""About how long an experiment's runs are going to take."""

from collections.abc import Mapping, Sequence

from predgen.baselines.base import make_baseline
from predgen.compare.plan import Cell
from predgen.compare.rows import CellRows
from predgen.config import RunConfig
from predgen.errors import PredgenError
from predgen.progress import duration_in_words
from predgen.training.pace import Amounts, Pace, characters, measure_pace

Times = Sequence[tuple[Cell, float | None]]
"""Runs with their expected seconds; None where a run is not timed."""


class Clock:
    """Times each variant once for each kind of task, on a few rows; other tasks and seeds follow by the rows and their length.

    Loading the base model is not counted, nor are steps that an early stop saves.

    Args:
        rows: Task -> its rows.
    """

    def __init__(self, rows: Mapping[str, CellRows]) -> None:
        self._rows = rows
        self._paces: dict[tuple[str, str], Pace | None] = {}

    def seconds(self, cell: Cell) -> float | None:
        """Expected time of a run; None: it is not timed, as most baselines, or cannot be run."""
        rows, config = self._rows[cell.task], cell.config()
        key = (cell.variant, rows.training.task.kind)
        if key not in self._paces:
            self._paces[key] = _pace(cell, rows)
        pace = self._paces[key]
        if pace is None:
            return None
        trained, predicted = _amounts(config, cell, rows)
        length = characters(rows.training.task, rows.training.train) / len(rows.training.train)
        return length * (trained * pace.train_s + predicted * pace.predict_s)


def _pace(cell: Cell, rows: CellRows) -> Pace | None:
    """Speed of a variant; None where it cannot be had, which the run itself will tell."""
    try:
        if cell.baseline is None:
            return measure_pace(cell.config(), rows.training)
        return make_baseline(cell.baseline, rows.training.task.kind, cell.own).pace(cell.config(), rows.training)
    except (PredgenError, RuntimeError):  # settings that do not fit the task; memory that does not suffice
        return None


def _amounts(config: RunConfig, cell: Cell, rows: CellRows) -> tuple[float, int]:
    """Rows that a run trains on, all passes counted, and rows that it predicts."""
    amounts = Amounts.of(config, len(rows.training.train), len(rows.training.validation))
    measured = sum(map(len, rows.tests.values())) if cell.stage == "final" else 0
    return amounts.trained, amounts.predicted + measured


def time_in_words(seconds: float | None) -> str:
    """An expected time as people read it."""
    return "not timed" if seconds is None else f"about {duration_in_words(seconds)}"


def total_in_words(times: Times) -> str:
    """Expected time of all runs, one after the other, and what is not in it."""
    known = [seconds for _, seconds in times if seconds is not None]
    others = list(dict.fromkeys(cell.variant for cell, seconds in times if seconds is None))
    without = f" Not timed: {', '.join(others)}." if others else ""
    return f"{len(times)} runs, {time_in_words(sum(known) if known else None)} one after the other.{without}"

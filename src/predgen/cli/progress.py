"""A progress line for rows, or steps of another kind, with speed and ETA."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def row_progress(
    console: "Console", title: str, total: int | None, unit: str = "rows/s"
) -> Iterator[Callable[[int], None]]:
    """Show how many rows are done; yields the function to call with the number of further rows.

    Args:
        console: Where to show it.
        title: What is being done.
        total: Number of rows; None: not known.
        unit: Unit of the speed; empty: steps are so unlike each other that a speed means nothing.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, TextColumn("{task.fields[rate]}"), console=console) as progress:
        task = progress.add_task(title, total=total, rate="")

        def advance(rows: int) -> None:
            progress.update(task, advance=rows)
            speed = progress.tasks[0].finished_speed or progress.tasks[0].speed
            progress.update(task, rate=f"{speed:.0f} {unit}" if speed and unit else "")

        yield advance


def step_progress(console: "Console") -> Callable[[str, int], AbstractContextManager[Callable[[int], None]]]:
    """Show steps that are not rows, one line after the other; see `row_progress`."""
    return lambda title, total: row_progress(console, title, total, unit="")

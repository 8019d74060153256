"""One progress bar for all that takes long: what is done, how much of it, time passed, time left, speed."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from predgen.escaping import in_line
from predgen.terminal import PlainColumn, PlainConsole

FIRST_WORD_S = 10.0  # where no bar can be drawn, the first line comes after this time, in seconds


class Line:
    """One line of a bar, made by `ProgressBar`.

    Attributes:
        done: Steps that are done.
        total: Steps in all; None: not known.
    """

    def __init__(
        self, progress: Progress, title: str, total: int | None, *, unit: str, units_per_step: float, done: int
    ) -> None:
        self.title = title
        self.total = total
        self.done = done
        self._progress = progress
        self._unit = unit
        self._units_per_step = units_per_step
        self._first = done
        self._start = time.monotonic()
        self._task = progress.add_task(title, total=total, completed=done, facts="")

    def begin(self, total: int, done: int) -> None:
        """Say how many steps there are, and how many were done before."""
        self.total, self.done, self._first = total, done, done
        self._progress.update(self._task, total=total, completed=done)

    def advance(self, steps: int, facts: str = "") -> None:
        """Count further steps; `facts` stand at the end of the line."""
        self.set(self.done + steps, facts)

    def set(self, done: int, facts: str = "") -> None:
        """Say how many steps are done in all."""
        self.done = done
        words = " ".join(part for part in (self.speed(), facts) if part)
        self._progress.update(self._task, completed=done, facts=words)

    def seconds(self) -> float:
        """Seconds since the line began."""
        return max(1e-9, time.monotonic() - self._start)

    def speed(self) -> str:
        """Speed since the line began, such as "0.25 rows/s"; empty without a unit or before the first step."""
        done = (self.done - self._first) * self._units_per_step
        return f"{rate_in_words(done / self.seconds())} {self._unit}" if self._unit and done else ""

    def left_s(self) -> float | None:
        """Seconds that are left at this speed; None where that is not known."""
        done = self.done - self._first
        return None if self.total is None or done <= 0 else (self.total - self.done) * self.seconds() / done

    def hide(self) -> None:
        """Take the line away."""
        self._progress.remove_task(self._task)


class ProgressBar:
    """A bar with one line, and further lines while something is done within it.

    Where the console is no terminal, or is quiet, nothing can be drawn; then a line of text says after ten seconds how far
    things are, and again each time that as much time has passed as before (once only where the console is quiet).

    Args:
        console: Where to show it.
        title: What is being done.
        total: Steps; None: not known.
        unit: Unit of the speed; empty: steps are so unlike each other that a speed means nothing.
        units_per_step: Units (rows) in a step.
        done: Steps that were done before; they count for the bar, not for the speed.

    Attributes:
        console: Where lines of text can be printed above the bar.
        line: The first line.
    """

    def __init__(
        self,
        console: PlainConsole,
        title: str,
        total: int | None,
        *,
        unit: str = "rows/s",
        units_per_step: float = 1,
        done: int = 0,
    ) -> None:
        self.console = console
        self._progress = Progress(
            PlainColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            PlainColumn("{task.fields[facts]}"),
            console=console,
        )
        self.line = Line(self._progress, title, total, unit=unit, units_per_step=units_per_step, done=done)
        self._next_word_s = FIRST_WORD_S
        self._progress.start()

    def begin(self, total: int, done: int) -> None:
        """Say how many steps there are, and how many were done before, where that shows only now."""
        self.line.begin(total, done)

    def advance(self, steps: int, facts: str = "") -> None:
        """Count further steps."""
        self.set(self.line.done + steps, facts)

    def set(self, done: int, facts: str = "") -> None:
        """Say how many steps are done in all."""
        self.line.set(done, facts)
        self._say_in_words(self.line)

    @contextmanager
    def inner(self, title: str, total: int | None, unit: str = "rows/s") -> Iterator[Callable[[int], None]]:
        """Show a line of its own for something within a step; yields what counts its steps."""
        line = Line(self._progress, title, total, unit=unit, units_per_step=1, done=0)

        def advance(steps: int) -> None:
            line.advance(steps)
            self._say_in_words(line)

        try:
            yield advance
        finally:
            line.hide()

    def close(self) -> None:
        """Stop drawing."""
        self._progress.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _say_in_words(self, line: Line) -> None:
        """Where no bar is drawn, say now and then how far things are."""
        if (self.console.is_terminal or self.console.is_jupyter) and not self.console.quiet:
            return
        if line.seconds() < self._next_word_s or line.done == line.total:
            return
        self._next_word_s = float("inf") if self.console.quiet else 2 * line.seconds()
        left = line.left_s()
        parts = [f"{in_line(line.title)}: {line.done} of {'?' if line.total is None else line.total}", line.speed()]
        parts.append("" if left is None else f"about {duration_in_words(left)} left")
        stream = sys.stderr if self.console.quiet else self.console.file
        stream.write(", ".join(part for part in parts if part) + "\n")
        stream.flush()


def rate_in_words(per_s: float) -> str:
    """A speed as people read it: two significant digits below 10, whole numbers above.

    Example:
        >>> [rate_in_words(x) for x in (0.0421, 3.14159, 72.4)]
        ['0.042', '3.1', '72']
    """
    return f"{per_s:.0f}" if per_s >= 10 else f"{per_s:.2g}"


def duration_in_words(seconds: float) -> str:
    """A duration as people read it.

    Example:
        >>> [duration_in_words(x) for x in (8.2, 95, 7300)]
        ['8 s', '2 min', '2 h 2 min']
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


@contextmanager
def row_progress(
    console: PlainConsole, title: str, total: int | None, unit: str = "rows/s"
) -> Iterator[Callable[[int], None]]:
    """Show how many rows are done; yields the function to call with the number of further rows.

    Args:
        console: Where to show it.
        title: What is being done.
        total: Number of rows; None: not known.
        unit: Unit of the speed; empty: none.
    """
    with ProgressBar(console, title, total, unit=unit) as bar:
        yield lambda steps: bar.advance(steps)


def step_progress(console: PlainConsole) -> Callable[[str, int], AbstractContextManager[Callable[[int], None]]]:
    """Show steps that are not rows, one line after the other; see `row_progress`."""
    return lambda title, total: row_progress(console, title, total, unit="")

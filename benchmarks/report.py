"""What the suite measured, as JSON and as the table."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.figures import Figures, Spread
from benchmarks.rows import Row
from benchmarks.settings import Setting, Size

_PACKAGES = ("predgen", "torch", "transformers", "peft", "accelerate")
_SECONDARY = "ratio_above_loaded"


@dataclass(frozen=True, slots=True)
class Result:
    """A row at one size.

    Attributes:
        row: What was measured.
        size: The model size.
        figures: The figures; None where measuring failed.
        error: Why it failed.
    """

    row: Row
    size: Size
    figures: Figures | None
    error: str = ""

    @property
    def verdict(self) -> str:
        """The row's verdict, or "failed"."""
        return self.row.verdict(self.figures, self.size.name) if self.figures else "failed"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "row": self.row.key,
            "what": self.row.what,
            "against": self.row.against,
            "size": self.size.name,
            "goal": self.row.goal,
            "direction": self.row.direction,
            "ratio": asdict(self.row.ratio(self.figures)) if self.figures else None,
            "verdict": self.verdict,
            "figures": asdict(self.figures) if self.figures else None,
            "error": self.error,
        }


def machine() -> dict[str, Any]:
    """What the figures depend on besides the code."""
    return {
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


def _processor() -> str:
    """Name of the processor."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def write_json(path: Path, results: Sequence[Result], settings: Sequence[Setting]) -> None:
    """Write everything that was measured, unrounded."""
    data = {
        "machine": machine(),
        "settings": [{name: value for name, value in asdict(s).items() if name != "work"} for s in settings],
        "results": [result.to_dict() for result in results],
    }
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def table(results: Sequence[Result]) -> str:
    """The table in Markdown: a line per row and size, measured ratios beside the goals."""
    head = ("what", "against", "model", "goal", "measured (quartiles)", "", "ours", "peer", "rounds", "rows")
    lines = [head, ("---",) * len(head), *map(_cells, results)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _cells(result: Result) -> tuple[str, ...]:
    """One line."""
    row, figures = result.row, result.figures
    begin = (row.what, row.against, result.size.title, row.goal_text())
    if figures is None:
        return (*begin, result.error.splitlines()[0].replace("|", "\\|"), result.verdict, "", "", "", "")
    ratio, sign = row.ratio(figures), "x" if row.direction == "at least" else ""
    measured = f"{ratio.median:.2f}{sign} ({ratio.low:.2f}-{ratio.high:.2f})"
    if _SECONDARY in figures.notes:
        measured += f"; above what is loaded {figures.notes[_SECONDARY]:.2f}"
    return (
        *begin,
        measured,
        result.verdict,
        _amount(figures.ours, figures, "ours"),
        _amount(figures.peer, figures, "peer"),
        str(figures.rounds),
        _rows(figures),
    )


def _amount(spread: Spread, figures: Figures, side: str) -> str:
    """What one side took, with its speed where rows were counted."""
    amount = f"{spread.median:.0f} MiB" if figures.unit == "MiB" else _seconds(spread.median)
    speed = figures.notes.get(f"{side}_rows_per_s")
    return amount if speed is None else f"{amount}, {speed:.0f} rows/s"


def _seconds(value: float) -> str:
    """Seconds, or milliseconds below one."""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.1f} ms"


def _rows(figures: Figures) -> str:
    """How many rows were used, where it is not one batch."""
    if "rows" not in figures.notes:
        return "1 batch"
    few = f"{figures.notes['few_rows']:,.0f} and " if "few_rows" in figures.notes else ""
    return f"{few}{figures.notes['rows']:,.0f}"

"""Experiments for tests: a file of rows, a tiny base, and an engine that makes runs in this process."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cli_runs import PROMPT, reviews, write_csv
from predgen.compare.cell import run_cell
from predgen.compare.plan import Cell, Plan
from predgen.compare.plan_file import plan_from
from predgen.compare.runner import Experiment
from predgen.records import Record
from tiny_runs import tiny_base


class InProcess:
    """Makes runs one after the other; can be told to stop, as by Ctrl-C, before a run.

    Attributes:
        made: Ids of the runs it was asked for.
    """

    def __init__(self, stop_before: str | None = None) -> None:
        self.made: list[str] = []
        self.stop_before = stop_before

    def run(
        self,
        cells: Sequence[Cell],
        experiment: Path,
        *,
        keep_models: bool,
        on_start: Callable[[Cell], None],
        on_done: Callable[[Record], None],
    ) -> None:
        for cell in cells:
            if cell.id == self.stop_before:
                raise KeyboardInterrupt
            self.made.append(cell.id)
            on_start(cell)
            on_done(run_cell(cell, experiment, keep_models=keep_models))


def make_files(folder: Path, n: int = 40) -> dict[str, Any]:
    """A tiny base and a file of rows; returns the settings that name them."""
    base = tiny_base(folder / "base")
    data = write_csv(folder / "reviews.csv", reviews(n))
    return {"model": str(base), "data": str(data), "prompt": PROMPT}


def tiny_plan(files: dict[str, Any], target: str = "score", **keys: Any) -> Plan:
    """A plan of a few steps a run."""
    kind = "regression" if target == "score" else "classification"
    steps = {} if "train_tokens" in keys else {"max_steps": 2}
    own = {"target": target, "kind": kind, "batch_size": 4, **steps, **keys.pop("settings", {})}
    settings = {**files, **own}
    return plan_from({"baselines": [], "seeds": [0], **keys, "settings": settings})


def run_plan(plan: Plan, folder: Path, engine: InProcess | None = None) -> list[Record]:
    """Run a plan in this process."""
    return Experiment(plan, folder, engine or InProcess()).run()

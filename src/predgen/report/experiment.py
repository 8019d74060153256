"""An experiment as the page needs it: plan, runs and findings, read once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from predgen.errors import DataError
from predgen.findings.base import Findings
from predgen.findings.make import findings
from predgen.records import Measurement, Record, read_plan, read_records


@dataclass(frozen=True, slots=True)
class Shown:
    """The run of a variant whose rows are shown, the one of its first seed.

    Attributes:
        task: Task whose rows were measured.
        variant: Name of the variant.
        index: Its position among all variants, which gives it its colour.
        seed: Seed of the run.
        kind: "classification", "regression" or "math".
        measurement: Figures and predictions.
    """

    task: str
    variant: str
    index: int
    seed: int
    kind: str
    measurement: Measurement


@dataclass(frozen=True, slots=True)
class LoadedExperiment:
    """What the page is made from.

    Attributes:
        folder: The experiment's folder.
        plan: What was asked for, as plain data.
        runs: Final runs, failed ones included, in the order of their names.
        found: What they show.
    """

    folder: Path
    plan: Mapping[str, Any]
    runs: tuple[Record, ...]
    found: Findings

    @property
    def names(self) -> list[str]:
        """All variants, in the order of tables."""
        return [variant.name for variant in self.found.variants]

    @property
    def done(self) -> list[Record]:
        """Runs that went well."""
        return [run for run in self.runs if run.status == "done"]

    @property
    def drawn(self) -> set[str]:
        """Variants whose rows are drawn: all but the constant baseline, which says the same of every row."""
        return {variant.name for variant in self.found.variants if variant.baseline != "constant"}

    def of_task(self, task: str) -> list[Shown]:
        """Return each variant's run with the first seed on a measured task, in the order of tables."""
        shown: dict[str, Shown] = {}
        for run in sorted(self.done, key=lambda run: run.seed):
            for measured in run.measurements:
                if measured.task == task and run.variant in self.names:
                    index = self.names.index(run.variant)
                    shown.setdefault(run.variant, Shown(task, run.variant, index, run.seed, run.kind, measured))
        return sorted(shown.values(), key=lambda one: one.index)


def load_experiment(folder: Path) -> LoadedExperiment:
    """Read an experiment and work out what it shows.

    Raises:
        DataError: If the folder is no experiment, no run of it is finished, or a record or the plan is damaged.
    """
    runs = read_records(folder)
    if not any(run.status == "done" for run in runs):
        raise DataError(f"experiment {str(folder)!r} has no finished run to report.{_reason(runs)}")
    return LoadedExperiment(folder, read_plan(folder), tuple(runs), findings(folder))


def _reason(runs: list[Record]) -> str:
    """Why there is none, and what to do."""
    told = next((run for run in runs if run.error is not None), None)
    if told is None or told.error is None:
        return " Let `predgen compare` make its runs first."
    return (
        f" {len(runs)} were tried; the first, {told.id!r}, ended with {told.error['type']}: {told.error['message']} Repair"
        " this, and let `predgen compare` go on."
    )

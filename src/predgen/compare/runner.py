"""Run an experiment: check everything that can be checked, tune, make the runs, resume where it stopped."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from predgen.baselines.base import make_baseline, require_packages
from predgen.compare.cell import finished
from predgen.compare.expected import Clock, Times, total_in_words
from predgen.compare.plan import Cell, Plan
from predgen.compare.rows import CellRows, data_facts, limit_for_tokens, load_rows
from predgen.compare.workers import Engine
from predgen.core import TaskSpec
from predgen.errors import ConfigError, DataError
from predgen.escaping import in_line
from predgen.figures import number
from predgen.files import holdings, locked_folder, tidy, write_text
from predgen.metrics.base import PRIMARY, metric_of, primary_metric
from predgen.progress import ProgressBar
from predgen.records import FOLDERS, PLAN_FILE, Record, find_records, write_record
from predgen.terminal import PlainConsole
from predgen.training.prepare import make_setup
from predgen.training.rows import task_of


class Experiment:
    """An experiment in a folder.

    Args:
        plan: What to do.
        folder: Where records go; an experiment that is there already is gone on with, and may grow by tasks, variants,
            baselines and seeds.
        engine: Where runs are made.
        console: Where progress is shown; None: nowhere.

    Raises:
        PredgenError: If the folder holds something else or an experiment with other settings, or a task's rows cannot be used.
    """

    def __init__(self, plan: Plan, folder: str | Path, engine: Engine, console: PlainConsole | None = None) -> None:
        self.plan = plan
        self.folder = Path(folder)
        self.engine = engine
        self.console = console or PlainConsole(quiet=True)
        self._rows: dict[str, CellRows] = {}
        self._limits: dict[str, int] = {}

    def run(self) -> list[Record]:
        """Make all runs that are missing; returns the records of all final runs.

        Raises:
            PredgenError: See the class.
            BusyError: If another process is at work on the experiment.
            KeyboardInterrupt: After Ctrl-C; the same call goes on.
        """
        _check_folder(self.folder)
        require_packages(self.plan.baselines)
        with locked_folder(self.folder):
            return self._run()

    def expected(self) -> Times:
        """Return all runs with about how long they take; nothing is trained, and nothing written.

        Raises:
            PredgenError: If a task's rows cannot be used.
        """
        self._look_at_rows()
        return self._timed(self._all())

    def _timed(self, cells: Sequence[Cell]) -> Times:
        """Runs with their expected seconds."""
        clock = Clock(self._rows)
        return [(cell, clock.seconds(cell)) for cell in cells]

    def _run(self) -> list[Record]:
        """Make all runs in a folder where nobody else does."""
        for name in ("rows", *FOLDERS.values()):
            tidy(self.folder / name)
        self._look_at_rows()
        self._check_grown()
        _write_plan(self.plan, self.folder)
        if not self.console.quiet:
            missing = [c for c in self._all() if finished(c, self.folder) is None]
            self.console.print(total_in_words(self._timed(missing)), soft_wrap=True)
        choices = self._tuned()
        records: list[Record] = []
        for seed in self.plan.seeds:
            records += self._make(
                [c for source in self._worthwhile(records) for c in self._final(source, seed, choices)], f"seed {seed}"
            )
        if all(record.status != "failed" for record in records):  # else the workers' logs say more
            shutil.rmtree(self.folder / "work", ignore_errors=True)
        return records

    def _look_at_rows(self) -> None:
        """Read every task's rows before the first run, so that bad input is told at once; fix numbers of rows."""
        for source in self.plan.sources:
            cell = self._any_cell(source)
            rows = load_rows(cell)
            if self.plan.train_tokens is not None:
                limit = limit_for_tokens(self.plan, source, rows.training, cell.config())
                self._limits[source] = limit
                rows = load_rows(self._limited(cell))
            self._rows[source] = rows
            _require_one_metric(source, rows.training.task, self.plan.settings.get("metric"))
            if not rows.training.validation:
                raise DataError(
                    f"task {source!r} has no validation rows, but settings and checkpoints are chosen on them."
                )
            setup = {name: fact["rows"] for name, fact in data_facts(rows)["splits"].items()}
            told = ", ".join(f"{count} {name}" for name, count in setup.items())
            self.console.print(f"{in_line(source)}: {told} rows")

    def _any_cell(self, source: str) -> Cell:
        """A run on a task, whose data settings are those of all."""
        settings = self.plan.settings_of(source, {"method": self.plan.untrained, "seed": self.plan.seeds[0]})
        return Cell(
            source,
            self.plan.sources[source],
            "",
            None,
            self.plan.seeds[0],
            "final",
            settings,
            measure_on=self.plan.measure_on,
            scored_rows=self.plan.scored_rows,
            test_data=self.plan.test_data,
        )

    def _limited(self, cell: Cell) -> Cell:
        """The run with as many training rows as the budget of tokens allows."""
        if cell.task not in self._limits:
            return cell
        return replace(cell, settings={**cell.settings, "limit": self._limits[cell.task]})

    def _final(self, source: str, seed: int, choices: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[Cell]:
        """Final runs of a task and a seed."""
        return [self._limited(cell) for cell in self.plan.cells(source, seed, choices.get(source, {}))]

    def _all(self) -> list[Cell]:
        """All runs of the plan, with rows as the budget allows."""
        return [self._limited(cell) for cell in self.plan.all_cells()]

    def _trials(self) -> list[Cell]:
        """Tuning runs of all tasks."""
        return [self._limited(cell) for source in self.plan.sources for cell in self.plan.trial_cells(source)]

    def _check_grown(self) -> None:
        """An experiment may grow; refuse to lose what it has, or to go on with other rows."""
        planned = {cell.id: cell for cell in self._all() if cell.stage == "final"}
        for cell in self._trials() or planned.values():
            finished(cell, self.folder)
        for record in find_records(self.folder, "final"):
            if record.id not in planned:
                raise ConfigError(
                    f"{str(self.folder)!r} holds the run {record.id!r}, which this plan has not. Give another folder, or the"
                    " tasks, methods and seeds it was made with, and more."
                )
            if record.status != "done":
                continue
            now = data_facts(self._rows[record.task])["splits"]
            if record.data["splits"] != now:
                changed = [name for name in now if record.data["splits"].get(name) != now[name]]
                raise DataError(
                    f"rows of task {record.task!r} ({', '.join(changed)}) are not those that run {record.id!r} was made with:"
                    " files or splits have changed. Give another folder."
                )

    def _worthwhile(self, records: Sequence[Record]) -> list[str]:
        """Tasks to go on with: all, or those where a method has beaten the constant baseline."""
        if not (self.plan.screen and records):
            return list(self.plan.sources)
        kept = [source for source in self.plan.sources if _beats_constant([r for r in records if r.task == source])]
        left = [source for source in self.plan.sources if source not in kept]
        if left:
            self.console.print(f"No method beats the constant baseline, so no further seeds: {', '.join(left)}.")
        return kept

    def _tuned(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Task -> variant -> the settings that were best on validation rows."""
        if not self.plan.tune:
            return {}
        trials = [r for r in self._make(self._trials(), "tuning") if r.status == "done"]
        chosen: dict[str, dict[str, dict[str, Any]]] = {}
        for source in self.plan.sources:
            metric = primary_metric(self.plan.settings.get("metric"), self._rows[source].training.task)
            sign = metric_of(metric).sign
            for variant in self.plan.variants:
                own = [t for t in trials if t.task == source and t.variant == variant.name]
                known = [(t.validation[metric], t) for t in own if t.validation.get(metric) is not None]
                if known:
                    best = max(known, key=lambda pair: sign * (pair[0] or 0.0))[1]
                    chosen.setdefault(source, {})[variant.name] = dict(best.choice)
        return chosen

    def _make(self, cells: Sequence[Cell], title: str) -> list[Record]:
        """Make the runs that are not there yet; all records, in the cells' order."""
        records: dict[str, Record] = {}
        missing: list[Cell] = []
        for cell in cells:
            found = finished(cell, self.folder) or self._refused(cell)
            if found is None:
                missing.append(cell)
            else:
                records[cell.id] = found
        with ProgressBar(self.console, title, len(cells), unit="", done=len(records)) as bar:

            def on_start(cell: Cell) -> None:
                bar.set(len(records), cell.id)

            def on_done(record: Record) -> None:
                records[record.id] = record
                bar.set(len(records))
                self.console.print(_said(record), soft_wrap=True)

            if missing:
                keep = self.plan.keep_models
                self.engine.run(missing, self.folder, keep_models=keep, on_start=on_start, on_done=on_done)
        return [records[cell.id] for cell in cells]

    def _refused(self, cell: Cell) -> Record | None:
        """A record for a variant that does not fit the task's kind, told before anything is trained."""
        data = self._rows[cell.task].training
        try:
            config = cell.config()
            task_of(config)
            make_setup(config, data.task, data.train, trains=cell.baseline is None)
            if cell.baseline is not None:
                make_baseline(cell.baseline, data.task.kind, cell.own)
            return None
        except ConfigError as error:
            record = Record(
                id=cell.id,
                task=cell.task,
                kind=data.task.kind,
                variant=cell.variant,
                seed=cell.seed,
                stage=cell.stage,
                status="refused",
                error={"type": type(error).__name__, "message": str(error), "traceback": ""},
                cell=cell.to_dict(),
                choice=dict(cell.choice),
            )
        write_record(record, self.folder)
        self.console.print(_said(record), soft_wrap=True)
        return record


def _check_folder(folder: Path) -> None:
    """Refuse a folder that holds something else."""
    if folder.is_file():
        raise ConfigError(f"`out` {str(folder)!r} is a file; give a folder.")
    if holdings(folder) and not (folder / PLAN_FILE).is_file():
        raise ConfigError(f"`out` {str(folder)!r} is not empty and holds no experiment. Choose another folder.")


def _write_plan(plan: Plan, folder: Path) -> None:
    """Write the plan, whole or not at all."""
    text = yaml.safe_dump(plan.to_dict(), sort_keys=False, allow_unicode=True)
    write_text(folder / PLAN_FILE, text, is_held=True)


def _require_one_metric(source: str, task: TaskSpec, asked: str | None) -> None:
    """Refuse to choose checkpoints and settings by another metric than the one that methods are judged by."""
    chosen, judged = primary_metric(asked, task), PRIMARY[task.kind]
    if chosen != judged:
        raise ConfigError(
            f"task {source!r} would choose checkpoints and settings by {chosen!r}, but methods are judged by {judged!r}"
            f" ({task.kind}): its differences can be tested row by row. Give `metric: {judged}` in the plan's settings."
        )


def _beats_constant(records: Sequence[Record]) -> bool:
    """Whether some variant was better than the constant on validation rows, beyond chance among the rows."""
    lows = [record.training.get("validation_gain", {}).get("low") for record in records]
    return any(low is not None and low > 0 for low in lows)


def _said(record: Record) -> str:
    """A line about a run."""
    if record.status != "done":
        return in_line(f"  {record.id}: {record.status}: {(record.error or {}).get('message', '')}")
    figures: Mapping[str, Any] = record.measurements[0].metrics if record.measurements else record.validation
    first = next(iter(figures.items()), ("", None))
    value = number(first[1], 4)
    where = record.measurements[0].split if record.measurements else "validation"
    return in_line(f"  {record.id}: {where} {first[0]} {value} ({record.cost.get('train_s') or 0:.0f} s)")

"""Make one run of an experiment: rows -> trained model or baseline -> figures and predictions -> record."""

import json
import os
import shutil
import time
import traceback
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from predgen.baselines.base import Baseline, make_baseline
from predgen.compare.environment import environment, forget_peak, peak_bytes
from predgen.compare.measuring import MeasuredModel, columns, curves, defined, figures, row_facts, target_values
from predgen.compare.plan import Cell
from predgen.compare.rows import CellRows, data_facts, load_rows, rows_digest
from predgen.components import left_open
from predgen.errors import ConfigError, StorageError
from predgen.files import locked, write_text
from predgen.inference.trained import TrainedModel, load
from predgen.metrics.base import PRIMARY, metric_of, primary_metric
from predgen.metrics.intervals import paired_difference
from predgen.records import Measurement, Record, find_record, is_cut_off, record_path, write_record
from predgen.saved.exchange import MANIFEST
from predgen.saved.manifest import SINCE
from predgen.training.folder import is_run_of, put_in_order
from predgen.training.run import train

_WAIT_S = 30.0  # for a worker whose `compare` was killed to end


def run_cell(cell: Cell, experiment: Path, *, keep_models: bool = False) -> Record:
    """Make a run, or go on with it, and write its record; an error becomes the record of a failed run.

    Args:
        cell: What to do.
        experiment: The experiment's folder.
        keep_models: Move the trained model to `experiment/models`.

    Raises:
        KeyboardInterrupt: After Ctrl-C; a checkpoint was saved, and the next call goes on from there.
        BusyError: If another process is making the run.
        StorageError: If the disk is full; the next call goes on from the last checkpoint.
    """
    path = record_path(experiment, cell.stage, cell.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path, wait_s=_WAIT_S):
        made = finished(cell, experiment)  # somebody else may have made it meanwhile
        return made if made is not None else _run_cell(cell, experiment, keep_models)


def _run_cell(cell: Cell, experiment: Path, keep_models: bool) -> Record:
    """Make a run that nobody else makes."""
    work, kept = experiment / "work" / cell.stage / cell.id, experiment / "models" / cell.id
    work.mkdir(parents=True, exist_ok=True)
    _take_back(kept, work / "model", cell)
    record = Record(
        id=cell.id,
        task=cell.task,
        kind="",
        variant=cell.variant,
        seed=cell.seed,
        stage=cell.stage,
        status="done",
        cell=cell.to_dict(),
        choice=dict(cell.choice),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    try:
        forget_peak()
        record = _made(cell, record, work, experiment)
    except StorageError:  # says nothing about the run, which goes on once there is room
        raise
    except ConfigError as error:
        record = replace(record, status="refused", error=_told(error))
    except Exception as error:  # a run that fails is reported in its place; the others go on
        record = replace(record, status="failed", error=_told(error))
    record = replace(record, environment=environment())
    if keep_models and cell.stage == "final" and (work / "model" / MANIFEST).is_file():
        _keep(work / "model", kept)
    write_record(record, experiment)  # last: a run with a record is never looked at again
    shutil.rmtree(work)
    return record


def finished(cell: Cell, experiment: Path) -> Record | None:
    """The record of a run, if it is there and was made as the plan says; None also for a run whose process died.

    Raises:
        ConfigError: If it was made with other settings.
        DataError: If it is damaged.
    """
    record, wanted = find_record(experiment, cell.stage, cell.id), cell.to_dict()
    if record is None:
        return None
    if record.cell != wanted:
        if record.status == "refused" or is_cut_off(record):  # nothing was made
            return None
        told = _differences(record.cell, wanted)
        raise ConfigError(
            f"run {cell.id!r} in {str(experiment)!r} was made with other settings ({told}). Choose another folder, or ask for"
            " the same."
        )
    if is_cut_off(record):
        return None
    if record.status == "done" and (told := _other_defaults(record, cell)):
        raise ConfigError(
            f"run {cell.id!r} in {str(experiment)!r} was made with other defaults ({told}), which an earlier version had. Choose"
            " another folder, or give these settings in the plan."
        )
    return record


def _other_defaults(record: Record, cell: Cell) -> str:
    """What a run was made with that the same order would not give today."""
    if cell.baseline is not None or not record.config:  # it says nothing of what it was made with
        return ""
    config = cell.config()
    before, choices = {**SINCE, **record.config}, left_open(config.components)
    wanted = {name: [value] for name, value in config.to_dict().items() if name in before and name not in choices}
    wanted |= {n: [names.get(record.kind) for names in (one.by_kind, one.without_tree)] for n, one in choices.items()}
    changed = {name: before.get(name) for name, values in wanted.items() if before.get(name) not in values}
    return "; ".join(f"{name} {value!r}" for name, value in changed.items())


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between two orders."""
    flat = [{**cell, **cell.get("settings", {})} for cell in (before, now)]
    names = [name for name in {**flat[0], **flat[1]} if name != "settings" and flat[0].get(name) != flat[1].get(name)]
    return "; ".join(f"{name} {flat[0].get(name)!r} -> {flat[1].get(name)!r}" for name in names)


def _told(error: Exception) -> dict[str, str]:
    """An error as plain data; the frames name files of the package without the folders above it."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    where = "\n".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames)
    return {"type": type(error).__name__, "message": str(error), "traceback": where}


def _take_back(kept: Path, model: Path, cell: Cell) -> None:
    """Go on with a model that was moved to where it is kept, by a process that died before it wrote the record."""
    if not model.exists() and (kept / MANIFEST).is_file() and is_run_of(kept, cell.config()):
        os.replace(kept, model)


def _keep(model: Path, place: Path) -> None:
    """Move a saved model to where the experiment keeps it."""
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    os.replace(model, place)


def _made(cell: Cell, record: Record, work: Path, experiment: Path) -> Record:
    """The record of a run that went well."""
    config = cell.config()
    rows = load_rows(cell, work)
    record = replace(record, kind=rows.training.task.kind, config=config.to_dict(), data=data_facts(rows))
    _write_texts(rows, experiment)
    if cell.baseline is not None:
        return _with_baseline(cell.baseline, cell, record, rows)
    start = time.perf_counter()
    trained, log = _trained(cell, rows, work / "model")
    train_s = time.perf_counter() - start
    training = {k: v for k, v in trained.report.items() if k not in ("validation", "seconds")}
    if cell.screen:
        training["validation_gain"] = _gain(trained, rows)
    record = replace(
        record,
        config=config.settled(trained.model.setup.settings).to_dict(),
        training=training,
        curves=curves(log, f"eval_{primary_metric(config.metric, rows.training.task)}"),
        validation=defined(trained.report["validation"]),
    )
    return _measured(cell, record, rows, train_s, MeasuredModel(trained))


def _with_baseline(name: str, cell: Cell, record: Record, rows: CellRows) -> Record:
    """The record of a baseline."""
    config, data = cell.config(), rows.training
    baseline = make_baseline(name, data.task.kind, cell.own)
    start = time.perf_counter()
    baseline.fit(config, data)
    train_s = time.perf_counter() - start if baseline.fits else None
    found = _measured(cell, record, rows, train_s, baseline)
    validation = {}
    if baseline.fits and data.validation:
        predictions = baseline.predict(data.validation)
        validation = figures(config, data.task, data.validation, predictions, baseline.labels)
    return replace(found, training=baseline.facts, validation=validation)


def _measured(
    cell: Cell, record: Record, rows: CellRows, train_s: float | None, fitted: MeasuredModel | Baseline
) -> Record:
    """The record with what was measured, and what it cost.

    Args:
        cell: The run; a trial is judged by its validation figure, and measured on no rows.
        record: What is known so far.
        rows: Its rows.
        train_s: Seconds of training; None: nothing was trained.
        fitted: What predicts them.
    """
    measurements, predict_s, n_rows = [], 0.0, 0
    for name, examples in rows.tests.items() if cell.stage == "final" else ():
        start = time.perf_counter()
        predictions = fitted.predict(examples)
        predict_s, n_rows = predict_s + time.perf_counter() - start, n_rows + len(examples)
        facts = row_facts(fitted, rows.training.task.kind, examples, predictions)
        metrics = figures(cell.config(), rows.training.task, examples, predictions, fitted.labels, facts)
        kept, known = columns(examples, predictions, fitted.labels, facts), fitted.counts(examples, predictions)
        measurements.append(Measurement(name, rows.split, metrics, known, rows_digest(examples), kept))
    cost = {
        "train_s": None if train_s is None else round(train_s, 2),
        "predict_s": round(predict_s, 2),
        "predict_rows_per_s": round(n_rows / predict_s, 1) if predict_s else None,
        "peak_memory_bytes": peak_bytes(),
    }
    return replace(record, measurements=measurements, cost=cost)


def _gain(trained: TrainedModel, rows: CellRows) -> dict[str, float | None]:
    """How much better than the constant baseline, on validation rows: > 0 is better, with its 95 % interval over rows."""
    data = rows.training
    values = trained.validated
    if values is None:  # trained before an interruption
        values = [p.value for p in trained.predict_examples(data.validation)]
    floor = make_baseline("constant", data.task.kind)
    floor.fit(trained.config, data)
    plain = [p.value for p in floor.predict(data.validation)]
    metric = metric_of(PRIMARY[data.task.kind])
    found = paired_difference(metric, target_values(data.validation), values, plain)
    if metric.greater_is_better:
        return defined({"gain": found.difference, "low": found.low, "high": found.high})
    return defined({"gain": -found.difference, "low": -found.high, "high": -found.low})


def _trained(cell: Cell, rows: CellRows, folder: Path) -> tuple[TrainedModel, list[dict[str, Any]]]:
    """Train, go on with an interrupted training, or load what was trained before the interruption."""
    config = cell.config()
    with locked(folder) if folder.is_dir() else nullcontext():
        is_finished = folder.is_dir() and put_in_order(folder)
    if is_finished:
        trained = load(folder, trust_remote_code=config.trust_remote_code)
    else:
        trained = train(config, folder, data=rows.training, resume=(folder / "config.yaml").is_file())
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return trained, [json.loads(line) for line in lines]


def _write_texts(rows: CellRows, experiment: Path) -> None:
    """Write the measured rows' texts once per task, beside the records, for reading errors."""
    for name, examples in rows.tests.items():
        path = experiment / "rows" / f"{name}.jsonl"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = (json.dumps({"row_id": e.row_id, "fields": dict(e.fields)}, ensure_ascii=False) for e in examples)
            write_text(path, "\n".join(lines) + "\n", errors="surrogatepass")

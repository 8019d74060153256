"""Make one run of an experiment: rows -> trained model or baseline -> figures and predictions -> record."""

import json
import math
import os
import shutil
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from predgen.baselines import BaselinePredictions, constant, embedding, tfidf
from predgen.compare.environment import environment, forget_peak, peak_bytes
from predgen.compare.plan import Cell
from predgen.compare.rows import CellRows, data_facts, load_rows, rows_digest
from predgen.core import Decoding, Example, Prediction
from predgen.errors import ConfigError, StorageError
from predgen.evaluation import counts
from predgen.files import locked, write_text
from predgen.inference.trained import TrainedModel, load
from predgen.metrics.base import PRIMARY, metric_of, metrics_of, primary_metric
from predgen.metrics.intervals import paired_difference
from predgen.metrics.measure import measure
from predgen.models.base import PLAIN
from predgen.models.writer import WritingModel
from predgen.records import (
    Measurement,
    Predictions,
    Record,
    find_record,
    is_cut_off,
    record_path,
    write_record,
)
from predgen.saved.exchange import MANIFEST
from predgen.training.folder import is_run_of, put_in_order
from predgen.training.run import train, zero_shot

_WAIT_S = 30.0  # for a worker whose `compare` was killed to end
_MAX_POINTS = 200  # of a curve: more is not seen in a drawing
_TOP = 5  # answers per row whose probabilities are kept
_DIGITS = 5  # significant digits of stored probabilities
_WITHOUT_MODEL = ("constant", "tfidf", "embedding")
_CURVES = ("loss", "writer_loss", "director_loss", "p", "learning_rate")


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
    return None if is_cut_off(record) else record


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
    data = rows.training
    record = replace(record, kind=data.task.kind, config=config.to_dict(), data=data_facts(rows))
    _write_texts(rows, experiment)
    if cell.baseline in _WITHOUT_MODEL:
        return _baseline_run(cell, record, rows)
    start = time.perf_counter()
    if cell.baseline == "zero_shot":
        trained = zero_shot(config, data)
        training: dict[str, Any] = {"engine": trained.model.engine}
    else:
        trained, log = _trained(cell, rows, work / "model")
        training = {k: v for k, v in trained.report.items() if k not in ("validation", "seconds")}
        record = replace(record, curves=_curves(log, f"eval_{primary_metric(config.metric, data.task)}"))
        record = replace(record, validation=_defined(trained.report["validation"]))
    train_s = time.perf_counter() - start
    measurements, predict_s, n_rows = [], 0.0, 0
    for name, examples in _to_measure(cell, rows).items():
        start = time.perf_counter()
        predictions = trained.predict_examples(examples, decoding=_decoding(trained))
        predict_s, n_rows = predict_s + time.perf_counter() - start, n_rows + len(examples)
        measurements.append(_measured(trained, name, rows.split, examples, predictions))
    if cell.screen and cell.baseline is None:
        training["validation_gain"] = _gain(trained, rows)
    cost = {
        "train_s": None if cell.baseline else round(train_s, 2),
        "predict_s": round(predict_s, 2),
        "predict_rows_per_s": round(n_rows / predict_s, 1) if predict_s else None,
        "peak_memory_bytes": peak_bytes(),
    }
    return replace(record, measurements=measurements, training=training, cost=cost)


def _gain(trained: TrainedModel, rows: CellRows) -> dict[str, float | None]:
    """How much better than the constant baseline, on validation rows: > 0 is better, with its 95 % interval over rows."""
    data = rows.training
    values = [p.value for p in trained.predict_examples(data.validation)]
    plain = constant(data.train, data.validation, data.task.kind).values
    metric = metric_of(PRIMARY[data.task.kind])
    found = paired_difference(metric, _target_values(data.validation), values, plain)
    if metric.greater_is_better:
        return _defined({"gain": found.difference, "low": found.low, "high": found.high})
    return _defined({"gain": -found.difference, "low": -found.high, "high": -found.low})


def _to_measure(cell: Cell, rows: CellRows) -> Mapping[str, list[Example]]:
    """Rows to measure at the end; none in a trial, which is judged by its validation figure."""
    return rows.tests if cell.stage == "final" else {}


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


def _decoding(trained: TrainedModel) -> Decoding:
    """The method's own prediction, with the distribution where numbers are written from a finite grid.

    It is in memory for all rows at once: a large grid is expanded in as many nodes as one pass takes, and rows for which
    these do not suffice are counted as "partly_expanded".
    """
    if trained.model.setup.kind != "regression" or not isinstance(trained.model, WritingModel):
        return PLAIN
    return Decoding(distribution=True, max_nodes=trained.model.max_tree_nodes)


def _measured(
    trained: TrainedModel, name: str, split: str, examples: Sequence[Example], predictions: Sequence[Prediction]
) -> Measurement:
    """Figures and columns of a model's predictions."""
    probabilities = None
    if trained.labels and all(p.probabilities is not None for p in predictions):
        probabilities = [[float(v) for v in p.probabilities or ()] for p in predictions]
    own, names = trained.config.own, metrics_of(trained.config.metric, trained.task)
    values = [p.value for p in predictions]
    metrics = _defined(measure(names, _target_values(examples), values, probabilities, trained.labels, own=own))
    spread: dict[str, Any] = {}
    if predictions and all(p.distribution is not None for p in predictions):
        found = [p.distribution for p in predictions if p.distribution is not None]
        spread = {
            "mean": [d.mean() for d in found],
            "interval": [[d.quantile(0.05), d.quantile(0.95)] for d in found],
            "top": [_best(d.support.tolist(), d.probabilities.tolist()) for d in found],
        }
    elif probabilities is not None:
        spread = {"top": [_best(trained.labels, row) for row in probabilities]}
    flags = sorted({flag for p in predictions for flag in p.flags})
    columns = Predictions(
        row_id=[example.row_id for example in examples],
        target=_target_values(examples),
        value=values,
        probabilities=_shortened(probabilities),
        labels=list(trained.labels) if probabilities is not None else [],
        flags={flag: [i for i, p in enumerate(predictions) if flag in p.flags] for flag in flags},
        **spread,
    )
    return Measurement(name, split, metrics, counts(trained, examples, predictions), rows_digest(examples), columns)


def _baseline_run(cell: Cell, record: Record, rows: CellRows) -> Record:
    """The record of a baseline that needs no language model."""
    data = rows.training
    config = cell.config()
    names = metrics_of(config.metric, data.task)

    def predicted(examples: Sequence[Example]) -> BaselinePredictions:
        if cell.baseline == "constant":
            return constant(data.train, examples, data.task.kind)
        plain = {"tfidf": tfidf, "embedding": embedding}[str(cell.baseline)]
        return plain(data.train, data.validation, examples, data.task.kind, PRIMARY[data.task.kind])

    def figures(examples: Sequence[Example], found: BaselinePredictions) -> dict[str, float | None]:
        columns = (_target_values(examples), found.values, found.probabilities, found.labels)
        return _defined(measure(names, *columns, own=config.own))

    measurements = []
    for name, examples in rows.tests.items():
        found = predicted(examples)
        columns = Predictions(
            row_id=[example.row_id for example in examples],
            target=_target_values(examples),
            value=found.values,
            probabilities=_shortened(found.probabilities),
            labels=list(found.labels),
            top=None if found.probabilities is None else [_best(found.labels, row) for row in found.probabilities],
        )
        digest = rows_digest(examples)
        measurements.append(Measurement(name, rows.split, figures(examples, found), {}, digest, columns))
    validation = figures(data.validation, predicted(data.validation)) if data.validation else {}
    return replace(record, validation=validation, measurements=measurements, cost={"peak_memory_bytes": peak_bytes()})


def _defined(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no nan."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def _target_values(examples: Sequence[Example]) -> list[Any]:
    """Targets; measured rows all have one."""
    return [example.target.value for example in examples if example.target is not None]


def _best(answers: Sequence[Any], probabilities: Sequence[float]) -> list[list[Any]]:
    """The most probable answers, each with its probability."""
    order = sorted(range(len(answers)), key=lambda i: -probabilities[i])[:_TOP]
    return [[answers[i], _short(probabilities[i])] for i in order]


def _short(value: float) -> float:
    """A probability or loss with as many digits as a reader needs; records stay small.

    Numbers on the targets' scale keep all of theirs: at an offset of 1.7e9 these digits would be the offset.
    """
    return float(f"{float(value):.{_DIGITS}g}")


def _shortened(table: list[list[float]] | None) -> list[list[float]] | None:
    """`_short` for a table."""
    return None if table is None else [[_short(value) for value in row] for row in table]


def _curves(log: Sequence[Mapping[str, Any]], validation: str) -> dict[str, list[Any]]:
    """Curves by optimizer step, thinned evenly."""
    steps = [entry for entry in log if "loss" in entry]
    stride = max(1, math.ceil(len(steps) / _MAX_POINTS))
    steps = steps[::stride]
    curves: dict[str, list[Any]] = {"step": [entry["step"] for entry in steps]}
    for name in _CURVES:
        if any(name in entry for entry in steps):
            curves[name] = [_finite(entry.get(name)) for entry in steps]
    looks = [entry for entry in log if validation in entry]
    curves["validation_step"] = [entry["step"] for entry in looks]
    curves["validation_value"] = [_finite(entry[validation]) for entry in looks]
    return curves


def _finite(value: Any) -> float | None:  # noqa: ANN401
    """A short number, or None where it is missing or not finite."""
    return _short(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _write_texts(rows: CellRows, experiment: Path) -> None:
    """Write the measured rows' texts once per task, beside the records, for reading errors."""
    for name, examples in rows.tests.items():
        path = experiment / "rows" / f"{name}.jsonl"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = (json.dumps({"row_id": e.row_id, "fields": dict(e.fields)}, ensure_ascii=False) for e in examples)
            write_text(path, "\n".join(lines) + "\n", errors="surrogatepass")

"""What one run of an experiment leaves behind: one JSON file, written once, whole.

EXP/experiment.yaml    the plan: what was asked for
EXP/runs/ID.json       one record per run
EXP/trials/ID.json     records of tuning trials; they hold validation figures only
EXP/records.tar.xz     the same files, packed to be passed on; a file in runs/ or trials/ goes before its packed one
EXP/rows/TASK.jsonl    the measured rows' texts, for reading errors; may be left out when the folder is passed on
EXP/models/ID/         saved models, where the plan keeps them
EXP/work/ID/           a run that is under way; it is gone once its record is there
"""

import io
import json
import lzma
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml

from predgen.errors import DataError
from predgen.files import locked, replacing, write_text

FORMAT_VERSION = 1
PLAN_FILE = "experiment.yaml"
PACKED_FILE = "records.tar.xz"
WORKER_DIED = "WorkerDied"
FOLDERS = {"final": "runs", "trial": "trials"}

Stage = Literal["final", "trial"]
Status = Literal["done", "failed", "refused"]


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions of measured rows, column by column; all columns are of one length.

    Attributes:
        row_id: Position of the row in its split, before rows were chosen.
        target: True label or number.
        value: Predicted label or number; None where freely written text could not be read.
        probabilities: P(label) per row, in the order of `labels`; None for numbers and baselines that give none.
        labels: Columns of `probabilities`; empty without them.
        mean: Mean of the numbers the model could write; None unless it writes numbers from a finite grid.
        interval: 5 % and 95 % quantiles of the same distribution; None as above.
        top: The most probable answers with their probabilities, at most five a row; None where nothing was written.
        flags: Flag -> positions (in these columns) of the rows that carry it, e.g. "truncated", "out_of_budget".
        facts: Name -> a number per row that was measured where its whole distribution was known, such as "crps"; empty in
            records of earlier versions and where there are none.
    """

    row_id: list[int]
    target: list[Any]
    value: list[Any]
    probabilities: list[list[float]] | None = None
    labels: list[str] = field(default_factory=list)
    mean: list[float] | None = None
    interval: list[list[float]] | None = None
    top: list[list[list[Any]]] | None = None
    flags: dict[str, list[int]] = field(default_factory=dict)
    facts: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measurement:
    """A trained model on one split of one task.

    Attributes:
        task: Task whose rows were measured.
        split: "validation" or "test".
        metrics: Metric -> value; None where it is not defined (a correlation of equal numbers).
        counts: Flag -> rows ("truncated", "parse_failure", "out_of_budget", "out_of_range", "trained_on").
        digest: Digest of the rows and their targets, to see that all methods met the same ones.
        predictions: Row by row.
    """

    task: str
    split: str
    metrics: dict[str, float | None]
    counts: dict[str, int]
    digest: str
    predictions: Predictions


@dataclass(frozen=True, slots=True)
class Record:
    """One run: what was asked, what it was made from, what it gave, what it cost.

    Attributes:
        id: Name of the run, also of its file: task, variant and seed.
        task: Task it was trained on.
        kind: "classification", "regression" or "math".
        variant: Name of the method with its settings, e.g. "predgen loss=sum"; or of a baseline.
        seed: Seed of the run.
        stage: "final", or "trial" of tuning.
        status: "done"; "failed" with an error that was not foreseen; "refused" where settings and task do not go together.
        error: Type, message and traceback of what went wrong; None where all went well.
        cell: The plan's order for this run; a resumed experiment uses a record only where it is the same.
        config: All settings of the run (`RunConfig`).
        choice: Settings that tuning chose; empty without tuning.
        data: Rows and digest of each split, labels or scale, rows that were skipped, training tokens.
        validation: Metrics on validation rows, which selected the checkpoint.
        measurements: Figures and predictions; one for most tasks, several where math tasks share a model. Empty in trials.
        training: Facts of training: optimizer steps, best step, parameters, trainable parameters, engine.
        curves: Name -> values by optimizer step, at most 200: "step", "writer_loss" (nats per token), "director_loss", "loss",
            "p", "learning_rate"; and "validation_step", "validation_value" of the selecting metric.
        cost: "train_s" (evaluations included), "predict_s", "predict_rows_per_s", "peak_memory_bytes" of the process.
        environment: Versions, platform, processor, threads, GPU.
        started: When, as ISO 8601 in UTC.
    """

    id: str
    task: str
    kind: str
    variant: str
    seed: int
    stage: Stage
    status: Status
    error: dict[str, str] | None = None
    cell: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    choice: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    validation: dict[str, float | None] = field(default_factory=dict)
    measurements: list[Measurement] = field(default_factory=list)
    training: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, list[Any]] = field(default_factory=dict)
    cost: dict[str, float | None] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    started: str = ""


def write_record(record: Record, experiment: Path) -> Path:
    """Write a record; a reader sees the whole file or none."""
    path = record_path(experiment, record.stage, record.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": FORMAT_VERSION, **asdict(record)}, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")
    return path


def is_cut_off(record: Record) -> bool:
    """Whether a run's process died: its record says so, and the next call goes on with the run."""
    return record.status == "failed" and (record.error or {}).get("type") == WORKER_DIED


def record_path(experiment: Path, stage: Stage, name: str) -> Path:
    """Where the record of a run lies."""
    return experiment / FOLDERS[stage] / f"{name}.json"


def read_record(path: Path) -> Record:
    """Read the file of a record.

    Raises:
        DataError: If the file is damaged, or of a newer format.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _damaged(path, error) from error
    return _record(content, path)


def find_record(experiment: Path, stage: Stage, name: str) -> Record | None:
    """The record of a run, from its own file or the packed one; None where there is none.

    Raises:
        DataError: If it is damaged, or of a newer format.
    """
    path = record_path(experiment, stage, name)
    if path.is_file():
        return read_record(path)
    member = f"{FOLDERS[stage]}/{path.name}"
    content = _packed(experiment).get(member)
    return None if content is None else _record(content, experiment / PACKED_FILE / member)


def find_records(experiment: Path, stage: Stage) -> list[Record]:
    """All records of a stage, from files of their own and the packed one, in the order of their names.

    Raises:
        DataError: If a record is damaged, or of a newer format.
    """
    own = _own(experiment, stage)
    packed = {n: content for n, content in _packed(experiment).items() if n.startswith(f"{FOLDERS[stage]}/")}
    return [
        read_record(own[member]) if member in own else _record(packed[member], experiment / PACKED_FILE / member)
        for member in sorted({*own, *packed})
    ]


def read_records(experiment: Path, stage: Stage = "final") -> list[Record]:
    """Read all records of a stage, in the order of their names.

    Raises:
        DataError: If the folder is no experiment, or a record is damaged.
    """
    _require_plan(experiment)
    return find_records(experiment, stage)


def pack_records(experiment: Path) -> Path:
    """Put all records of an experiment into one compressed file and remove their own; equal records make equal bytes.

    Raises:
        DataError: If the folder is no experiment, or a record is damaged.
        BusyError: If runs are being made there.
    """
    packed = experiment / PACKED_FILE
    stages: tuple[Stage, ...] = ("final", "trial")
    with locked(experiment):
        for stage in stages:
            read_records(experiment, stage)  # what is damaged is told here, not to whoever gets the folder
        own = {member: path for stage in stages for member, path in _own(experiment, stage).items()}
        contents = {**_packed(experiment), **{member: path.read_bytes() for member, path in own.items()}}
        # Compressed as one: the runs of a task repeat its rows' numbers and targets, which then cost nothing.
        with replacing(packed) as draft, tarfile.open(draft, "w:xz", preset=9) as archive:
            for member in sorted(contents):
                entry = tarfile.TarInfo(member)  # dated 1970 and nobody's, whoever wrote its file, and when
                entry.size = len(contents[member])
                archive.addfile(entry, io.BytesIO(contents[member]))
        for path in own.values():
            path.unlink()
        for folder in {path.parent for path in own.values()}:
            with suppress(OSError):  # there is something else in it
                folder.rmdir()
    return packed


def _own(experiment: Path, stage: Stage) -> dict[str, Path]:
    """Name in the packed file, "runs/ID.json" -> the record's own file."""
    return {f"{FOLDERS[stage]}/{path.name}": path for path in (experiment / FOLDERS[stage]).glob("*.json")}


def _packed(experiment: Path) -> Mapping[str, bytes]:
    """Name, "runs/ID.json" -> content of the packed records; empty where none are packed."""
    path = experiment / PACKED_FILE
    if not path.is_file():
        return {}
    facts = path.stat()
    return _unpacked(path, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=1)  # records are asked for one by one, and unpacked together
def _unpacked(path: Path, mtime_ns: int, size: int) -> Mapping[str, bytes]:
    """Contents of a packed file, as it is at a time; folders and links in it are passed over."""
    try:
        found = {}
        with tarfile.open(path, "r:xz") as archive:
            for entry in archive:  # read in their order: going back would unpack all anew
                if entry.isfile() and (file := archive.extractfile(entry)) is not None:
                    found[entry.name] = file.read()
        return found
    except (OSError, EOFError, ValueError, tarfile.TarError, lzma.LZMAError) as error:
        raise _damaged(path, error) from error


def _record(content: bytes, path: Path) -> Record:
    """Make a record of what its file holds."""
    try:
        data = json.loads(content.decode("utf-8"))
        version = data.pop("format")
        if version == FORMAT_VERSION:
            data["measurements"] = [
                Measurement(**{**m, "predictions": Predictions(**m["predictions"])}) for m in data["measurements"]
            ]
            return Record(**data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error
    raise DataError(
        f"record {str(path)!r} has format {version}, but this predgen reads {FORMAT_VERSION}; update predgen."
    )


def _damaged(path: Path, error: Exception) -> DataError:
    """What is said of a file of records that cannot be read."""
    return DataError(
        f"record {str(path)!r} is damaged ({type(error).__name__}: {error}). Delete it and run the experiment again."
    )


def _require_plan(experiment: Path) -> Path:
    """Return where an experiment's plan lies, or raise."""
    path = experiment / PLAN_FILE
    if not path.is_file():
        raise DataError(
            f"{str(experiment)!r} is no experiment: it has no {PLAN_FILE}. Give the `out` of `predgen compare`."
        )
    return path


def read_plan(experiment: Path) -> dict[str, Any]:
    """Read an experiment's plan, as plain data.

    Raises:
        DataError: If the folder is no experiment, or its plan is damaged.
    """
    path = _require_plan(experiment)
    try:
        plan = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"plan {str(path)!r} is damaged: {error}. Write it again with `predgen compare`.") from error
    if not isinstance(plan, dict):
        raise DataError(f"plan {str(path)!r} holds no settings. Write it again with `predgen compare`.")
    return plan


def read_texts(experiment: Path, task: str) -> dict[int, Mapping[str, str]]:
    """Texts of measured rows, by row id; empty where they were not passed on."""
    path = experiment / "rows" / f"{task}.jsonl"
    if not path.is_file():
        return {}
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {row["row_id"]: row["fields"] for row in rows}
